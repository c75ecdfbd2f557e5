"""Training steps on the device: agreement with the CPU, skipped steps, averages, exact resume, half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from tests.gpu.conftest import Record
from tests.gpu.runs import Run, config, differing, distance, fit, on_cpu

CPU = torch.device("cpu")


def test_three_steps_match_the_cpu(device: torch.device, record: Record) -> None:
    # Another memory format changes the order of summation, so the CPU case is not trivial.
    expected, run = on_cpu(), fit(device, "net.channels_last=false")
    losses = max(abs(float(a / b) - 1) for a, b in zip(run.losses, expected.losses, strict=True))
    moved = distance(expected.weights(), expected.start)
    weights = distance(run.weights(), expected.weights()) / moved
    averages = distance(run.averages(), expected.averages()) / moved
    record(relative_error_of_losses=losses, weights_relative_to_their_change=weights, averages=averages)
    assert len(run.losses) == 3 and moved > 0
    assert losses < 1e-4
    # Adam divides by the gradient's size, so rounding is amplified in weights whose gradient is nearly zero.
    assert weights < 0.02 and averages < 0.02


class NotFinite(Callback):
    """Make the loss of one step, or one gradient of it, NaN; keep the state after every step.

    Args:
        step: the step, from 0.
        gradient: only one element of one gradient is NaN.
    """

    def __init__(self, step: int, gradient: bool) -> None:
        self.step = step
        self.gradient = gradient
        self.states: list[dict[str, Tensor]] = []

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == self.step:
            for parameter in list(pl_module.parameters())[: 1 if self.gradient else None]:
                if parameter.grad is not None:
                    (parameter.grad.view(-1)[:1] if self.gradient else parameter.grad).mul_(float("nan"))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        run = Run(pl_module, trainer, trainer.callbacks[0])  # type: ignore[attr-defined]
        self.states.append(run.everything())


@pytest.mark.parametrize("clip", ["1.0", "null"])
@pytest.mark.parametrize("gradient", [False, True], ids=["all", "one element"])
def test_a_step_with_a_nonfinite_gradient_changes_nothing(device: torch.device, gradient: bool, clip: str) -> None:
    bad = NotFinite(1, gradient)
    run = fit(device, f"trainer.gradient_clip_val={clip}", callbacks=[bad])
    first, skipped, last = bad.states
    assert not differing(first, skipped)
    assert len(differing(skipped, last)) > 0.9 * len(last)
    assert all(value.isfinite().all() for value in last.values())
    assert run.ema.updates == 2
    checkpoint: dict[str, Any] = {}
    run.module.on_save_checkpoint(checkpoint)
    assert checkpoint["skipped_steps"] == {"total": 1, "in_a_row": 0}


def test_averages_are_applied_and_raw_weights_restored(device: torch.device) -> None:
    run = fit(device)
    raw, averages, net = run.weights(), run.averages(), run.ema.net(run.module)
    storages = [parameter.data_ptr() for parameter in net.parameters()]
    with run.ema.applied(run.module):
        inside = {name: value.cpu().clone() for name, value in net.named_parameters()}
        assert not differing({name: value.detach() for name, value in inside.items()}, averages)
        assert all(parameter.device.type == device.type for parameter in net.parameters())
    assert len(differing(averages, {name: raw[f"model.net.{name}"] for name in averages})) > 0.9 * len(averages)
    assert not differing(run.weights(), raw)
    # Compiled graphs and optimizers keep pointers to the storage.
    assert [parameter.data_ptr() for parameter in net.parameters()] == storages


def test_averages_have_device_and_layout_of_the_weights(device: torch.device, tmp_path: Path) -> None:
    # Load in another memory format than when saving.
    saved = tmp_path / "saved.ckpt"
    fit(device, "net.channels_last=true", steps=2, callbacks=[Save(2, saved)])
    run = fit(device, "net.channels_last=false", steps=3, ckpt_path=saved)
    (shadow,) = run.ema.shadows.values()
    for name, parameter in run.ema.net(run.module).named_parameters():
        assert shadow[name].device.type == device.type and shadow[name].dtype == torch.float32
        assert shadow[name].shape == parameter.shape and shadow[name].stride() == parameter.stride()


class Save(Callback):
    """Save a checkpoint after a step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step = step
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_exact_resume(device: torch.device, tmp_path: Path, precision: str) -> None:
    settings = ("trainer.deterministic=true", "net.dropout=0.2", f"trainer.precision={precision}")
    saved = tmp_path / "saved.ckpt"
    whole = fit(device, *settings, steps=4, callbacks=[Save(2, saved)])
    # Weights of another seed, so that everything must come from the file.
    resumed = fit(device, *settings, steps=4, ckpt_path=saved, seed=1)
    assert not differing(whole.everything(), resumed.everything())
    assert torch.equal(torch.stack(resumed.losses), torch.stack(whole.losses[2:]))


def test_a_run_resumes_on_another_device_and_back(device: torch.device, record: Record, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    fit(device, steps=2, callbacks=[Save(2, first)])
    fit(CPU, steps=3, callbacks=[Save(3, second)], ckpt_path=first, seed=1)
    run = fit(device, steps=4, ckpt_path=second, seed=2)
    expected = on_cpu(4)
    error = distance(run.weights(), expected.weights()) / distance(expected.weights(), expected.start)
    record(weights_relative_to_their_change=error)
    assert error < 0.03 and run.ema.updates == 4
    steps = [value for name, value in run.moments().items() if name.endswith(".step")]
    assert steps and all(float(step) == 4 for step in steps)


def test_half_precision_trains_float32_weights(device: torch.device, record: Record) -> None:
    full, half = fit(device), fit(device, "trainer.precision=bf16-mixed", callbacks=[dtypes := OutputTypes()])
    # Only products are rounded: convolutions return bfloat16, all stored tensors are float32.
    assert torch.bfloat16 in dtypes.convolutions
    assert {value.dtype for value in half.everything().values()} == {torch.float32}
    error = max(abs(float(a / b) - 1) for a, b in zip(half.losses, full.losses, strict=True))
    record(relative_error_of_losses=error)
    assert 0 < error < 0.05


class OutputTypes(Callback):
    """Record the output dtypes of convolutions during training."""

    def __init__(self) -> None:
        self.convolutions: set[torch.dtype] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for module in pl_module.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _module, _args, out: self.convolutions.add(out.dtype))


def test_likelihood_is_computed_in_full_precision(device: torch.device) -> None:
    coarse = [f"likelihood.likelihood.{name}" for name in ("rtol=0.1", "atol=0.1", "eps=1e-2")]
    cfg = config("likelihood=hutchinson", *coarse)
    torch.manual_seed(0)
    module = instantiate(cfg.module, _convert_="all").to(device).eval()
    index = torch.arange(2, device=device)
    batch = {"x": torch.linspace(0, 1, 128, device=device).view(2, 1, 8, 8), "index": index, "position": index}

    def bits() -> Tensor:
        module.test_step(batch, 0)
        total: Tensor = module._sums.pop("test/bits_per_dim")
        return total.cpu()

    plain = bits()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(bits(), plain)
    assert plain.isfinite().all()
