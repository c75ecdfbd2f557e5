"""The fused kernel gives the numbers of ``noise``; without a GPU, Triton's interpreter runs it on CPU tensors."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

STEPS = (0, 7, 2**31 + 5, 2**32 - 1, 2**32 + 3)
SEEDS = (0, 42, -1, 2**64 - 1, 0x123456789ABCDEF0)
PURPOSES = (
    "time",
    "diffusion",
    "flip",
    "dequantize",
    "augmentation",
    "predictor",
    "corrector",
    "prior",
    "label-dropout",
)
SHAPES = ((), (3,), (4,), (5, 7), (1, 6), (5, 11, 19))
# The last shape needs two programs per sample.
INDEX = (0, 1, 2**31, 2**32 - 1, 2**32 + 1, 2**40 + 17)


def test_the_kernel_agrees_with_the_definition() -> None:
    # The interpreter is selected when triton is imported, so the comparison needs its own process.
    command = [sys.executable, "-m", "tests.test_noise_kernel"]
    settings = {**os.environ, "TRITON_INTERPRET": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) == 3 * len(PURPOSES)


def compare() -> int:
    """Compare all kinds of numbers over the lists of purposes, shapes, steps and seeds; return the number of
    comparisons.
    """
    from src import noise
    from src.noise_kernel import fill

    index, compared = torch.tensor(INDEX), 0
    for i, purpose in enumerate(PURPOSES):
        seed, step, shape = SEEDS[i % len(SEEDS)], STEPS[i % len(STEPS)], SHAPES[i % len(SHAPES)]
        size = torch.Size(shape).numel()
        address = (seed, noise._hash(purpose))
        word = torch.stack(noise.words(seed, purpose, step, index, -(-size // 4)), -1).flatten(1)[:, :size]
        given = torch.tensor(step) if i % 2 else step
        assert torch.equal(fill("words", *address, given, index, (size,), torch.int64), word), (purpose, shape)
        expected = noise.uniform(seed, purpose, step, index, shape)
        found = fill("uniform", *address, step, index, shape, torch.float32)
        assert found.shape == expected.shape and torch.equal(found, expected), (purpose, shape)
        dtype, tolerance = (torch.bfloat16, 4e-2) if i == 1 else (torch.float32, 1e-6)
        expected = noise.normal(seed, purpose, step, index, shape, dtype)
        torch.testing.assert_close(
            fill("normal", *address, given, index, shape, dtype), expected, rtol=0, atol=tolerance
        )
        compared += 3
    assert fill("normal", 0, 0, 0, index[:0], (3,), torch.float32).shape == (0, 3)
    assert fill("normal", 0, 0, 0, index, (0,), torch.float32).shape == (6, 0)
    return compared


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_the_kernel_is_used_only_for_float32_on_a_gpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from src import noise

    asked = []
    monkeypatch.setattr(noise, "_kernel_exists", lambda: True)
    monkeypatch.setattr(noise, "_fill", lambda kind, *_: asked.append(kind) or torch.ones(1))
    draw = getattr(noise, kind)
    draw(0, "a", 0, torch.arange(2), (3,))
    assert not asked, "the kernel must not be used on the CPU"
    # The meta device replaces a GPU.
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: tensor.is_meta))
    draw(0, "a", 0, torch.arange(2, device="meta"), (3,), torch.float64)
    assert not asked, "the kernel must not be used for float64"
    draw(0, "a", 0, torch.arange(2, device="meta"), (3,))
    assert asked == [kind]


def test_an_environment_variable_disables_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    from src import noise

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert noise._kernel_exists.__wrapped__()
    monkeypatch.setenv("SCORE_SDE_FUSED_NOISE", "0")
    assert not noise._kernel_exists.__wrapped__()


if __name__ == "__main__":
    sys.stdout.write(str(compare()))
