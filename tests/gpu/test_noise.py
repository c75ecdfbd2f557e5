"""Addressed noise is equal on every device."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise, normal, philox, uniform, words
from tests.gpu.conftest import Record

# Known answers of Philox4x32-10 (Random123): counter, key, words.
ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
INDEX = torch.tensor([0, 1, 2**31 - 1, 2**32 - 1, 2**40 + 3, 7])
SHAPES = [(), (7,), (3, 32, 32)]
SEED = 2**40 + 12345


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_philox_known_answers(
    device: torch.device, counter: tuple[int, ...], key: tuple[int, int], answer: object
) -> None:
    c0, c1, c2, c3 = (torch.tensor([word], device=device) for word in counter)
    assert tuple(int(word) for word in philox((c0, c1, c2, c3), key)) == answer


@pytest.mark.parametrize("step", [0, 12345, 2**32 - 1])
def test_words_are_bitwise_equal_to_the_cpu(device: torch.device, step: int) -> None:
    expected = words(SEED, "purpose", step, INDEX, 100)
    # Compare with Python integers, word by word.
    address, key = zlib.crc32(b"purpose"), (SEED & 0xFFFFFFFF, SEED >> 32)
    for i, index in enumerate(INDEX.tolist()):
        by_hand = philox((99, index & 0xFFFFFFFF, step, address), key)
        assert tuple(int(word[i, 99]) for word in expected) == by_hand
    for given in (step, torch.tensor(step, device=device)):
        for on_device, on_cpu in zip(words(SEED, "purpose", given, INDEX.to(device), 100), expected, strict=True):
            assert torch.equal(on_device.cpu(), on_cpu)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uniforms_are_exact_functions_of_the_words(device: torch.device, shape: tuple[int, ...]) -> None:
    word = _stacked(shape)
    for dtype in (torch.float32, torch.float64):
        expected = word.to(dtype).add(0.5).mul(2.0**-32)
        assert torch.equal(uniform(SEED, "purpose", 3, INDEX.to(device), shape, dtype).cpu(), expected)


@pytest.mark.parametrize("step_on_device", [False, True], ids=["int step", "tensor step"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normals_match_the_cpu_and_numpy(
    device: torch.device, record: Record, shape: tuple[int, ...], step_on_device: bool
) -> None:
    step = torch.tensor(3, device=device) if step_on_device else 3
    index = INDEX.to(device)
    on_device = normal(SEED, "purpose", step, index, shape).cpu()
    assert on_device.shape == (len(INDEX), *shape) and on_device.dtype == torch.float32
    on_cpu = normal(SEED, "purpose", 3, INDEX, shape)
    error = float((on_device - on_cpu).abs().max())
    record(normals=on_cpu.numel(), against_cpu=error, equal=float((on_device == on_cpu).double().mean()))
    # Relative above 1, where one unit in the last place is at least 1e-7.
    assert float(((on_device - on_cpu).abs() / on_cpu.abs().clamp(min=1)).max()) <= 1e-6
    # float32 uniforms have 24 of 32 bits; the error is largest where the logarithm is near zero.
    exact = _box_muller(shape)
    assert float((normal(SEED, "purpose", step, index, shape, torch.float64).cpu() - exact).abs().max()) < 1e-12
    assert float((on_device - exact).abs().max()) < 1e-3
    half = normal(SEED, "purpose", step, index, shape, torch.bfloat16).cpu()
    torch.testing.assert_close(half, on_cpu.bfloat16(), rtol=2**-7, atol=1e-6)


def test_noise_of_an_image_does_not_depend_on_the_batch(device: torch.device) -> None:
    like = torch.empty(len(INDEX), 3, 8, 8, device=device)
    together = AddressedNoise(SEED, INDEX.to(device))("step", 5, like)
    for i in range(len(INDEX)):
        assert torch.equal(AddressedNoise(SEED, INDEX[i : i + 1].to(device))("step", 5, like[:1]), together[i : i + 1])


def _stacked(shape: tuple[int, ...]) -> Tensor:
    """Return the words of each element: (6, *shape) int64 on the CPU."""
    size = math.prod(shape)
    stacked = torch.stack(words(SEED, "purpose", 3, INDEX, -(-size // 4)), dim=-1)
    return stacked.flatten(1)[:, :size].reshape(len(INDEX), *shape)


def _box_muller(shape: tuple[int, ...]) -> Tensor:
    """Return the normals in float64, computed with numpy."""
    size = math.prod(shape)
    w = np.stack([word.numpy() for word in words(SEED, "purpose", 3, INDEX, -(-size // 4))], axis=-1)
    u = (w + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(u[..., 0::2])), 2 * np.pi * u[..., 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return torch.from_numpy(pairs.reshape(len(INDEX), -1)[:, :size].reshape(len(INDEX), *shape))
