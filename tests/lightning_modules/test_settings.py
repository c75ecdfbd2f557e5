"""Performance settings, alone and combined, change neither results nor names in a checkpoint."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.lightning_modules.tiny_run import trained

PLAIN = ("optimizer.fused=null",)


def check(other: tuple[Tensor, dict[str, Tensor], dict[str, Tensor]], tolerance: float) -> None:
    losses, weights, averages = trained(*PLAIN)
    other_losses, other_weights, other_averages = other
    assert list(other_weights) == list(weights)
    assert list(other_averages) == list(averages)
    torch.testing.assert_close(other_losses, losses, rtol=tolerance, atol=0)
    for name, value in averages.items():
        # The key bias has no effect: its gradient is rounding error, which Adam scales to full steps.
        if not name.endswith("key.bias"):
            # Adam's step size does not depend on the gradient's size, so small gradients amplify small differences.
            torch.testing.assert_close(other_averages[name], value, rtol=tolerance, atol=5 * tolerance, msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer.fused=true",),
        ("net.channels_last=true",),
        ("net.checkpoint_activations=true",),
        ("trainer.accumulate_grad_batches=2",),
        ("net.channels_last=true", "net.checkpoint_activations=true", "trainer.accumulate_grad_batches=4"),
    ],
    ids=lambda settings: "-".join(s.split(".")[-1] for s in settings),
)
def test_settings_keep_results_and_names(settings: tuple[str, ...]) -> None:
    check(trained(*settings), 1e-4)


def test_bf16_with_a_fused_optimizer_and_clipping() -> None:
    check(trained("trainer.precision=bf16-mixed", "optimizer.fused=true", "trainer.gradient_clip_val=1.0"), 2e-2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (("net.compile=true",), 1e-4),
        (("net.compile=true", "net.channels_last=true", "trainer.accumulate_grad_batches=2"), 1e-4),
        (("net.compile=true", "net.channels_last=true", "trainer.precision=bf16-mixed"), 2e-2),
    ],
    ids=["compiled", "with-channels-last-and-accumulation", "with-bf16"],
)
def test_compiled_training(settings: tuple[str, ...], tolerance: float, tmp_path: Path) -> None:
    # In its own process: the shape checks of the test session break graphs.
    file = tmp_path / "result.pt"
    command = [sys.executable, "-m", "tests.lightning_modules.tiny_run", str(file), *settings]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    check(torch.load(file, weights_only=True), tolerance)
