"""A training step on the device: no host waits, and training in a process group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch import distributed as dist
from torch.utils._python_dispatch import _disable_current_modes

from src.lightning_modules import gradients
from tests.gpu.conftest import Record
from tests.gpu.runs import distance, fit, on_cpu
from tests.gpu.syncs import Watch

STEPS = 6


class Watched(Callback):
    """Watch from the end of the second step to the end of the fifth: batches, steps, averages.

    The last step is left out, because the end of training may wait.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        self.watch.end()
        if 2 <= trainer.global_step < STEPS - 1:
            self.watch.begin()


@pytest.mark.parametrize(
    "settings",
    [
        ("trainer.precision=32-true", "datamodule.on_device=false"),
        ("trainer.precision=bf16-mixed", "datamodule.on_device=true"),
        (
            "datamodule.random_flip=true",
            "datamodule.dequantize=true",
            "+datamodule.augmentation._target_=src.datamodules.augmentation.GeometricAugmentation",
        ),
    ],
    ids=["float32", "bf16, data on the device", "augmented"],
)
def test_a_step_does_not_wait_for_the_device(
    device: torch.device, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(device)

    class Flag(gradients.DeviceFlag):
        """A flag whose host copy may be read after the next step has begun."""

        def __init__(self, value: torch.Tensor) -> None:
            super().__init__(value)
            self.made = watch.steps

        def __bool__(self) -> bool:
            if watch.is_on and self.made == watch.steps:
                raise RuntimeError("the host waits for the current step")
            with _disable_current_modes():
                return super().__bool__()

    monkeypatch.setattr(gradients, "DeviceFlag", Flag)
    try:
        run = fit(device, *settings, steps=STEPS, callbacks=[Watched(watch)])
    finally:
        watch.end()
    assert watch.steps == STEPS - 3
    assert run.ema.updates == STEPS


def test_the_watch_detects_waits(device: torch.device) -> None:
    watch, value = Watch(device), torch.ones(3, device=device)
    waiting = (lambda: value.sum().item(), lambda: value.nonzero(), lambda: value[value > 0], lambda: bool(value.any()))
    for wait in waiting:
        watch.begin()
        try:
            with pytest.raises(RuntimeError, match="synchroniz"):
                wait()
        finally:
            watch.end()
    assert value.sum().item() == 3


@pytest.fixture
def no_process_group() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def backend(device: torch.device) -> str:
    return "nccl" if device.type == "cuda" else "gloo"


class Backend(Callback):
    """Record the backend of the process group during training."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.name = dist.get_backend()


def test_training_in_a_group_of_one_process(device: torch.device, record: Record, no_process_group: None) -> None:
    seen = Backend()
    run = fit(device, "trainer.strategy=ddp", "trainer.devices=1", callbacks=[seen])
    assert seen.name == backend(device)
    expected = on_cpu()
    error = distance(run.weights(), expected.weights()) / distance(expected.weights(), expected.start)
    record(weights_relative_to_their_change=error)
    assert error < 0.02


class One(int):
    """A group size of 1 that does not compare equal to 1, so that collectives are not skipped."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def test_collectives_of_one_process(
    device: torch.device, no_process_group: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src import distributed

    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alone = scores(images)
    dist.init_process_group(backend(device), init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    monkeypatch.setattr(distributed, "world_size", lambda: One(1))
    rows = torch.arange(12.0).view(4, 3)
    for given in (rows, rows.to(device), rows[:0].to(device)):
        assert torch.equal(distributed.gather_rows(given), given.cpu())
    assert distributed.gather_objects({"a": 1}) == [{"a": 1}]
    assert distributed.on_rank_zero(lambda: 5) == 5
    assert distributed.agreed("word") == ("word", True)
    assert scores(images.to(device)) == pytest.approx(alone, rel=1e-4)


def scores(images: Tensor) -> dict[str, float]:
    """Return pixel-based scores, with metrics that keep features and metrics that keep sums."""
    from src.metrics import FrechetDistance, KernelDistance, MetricSuite, PixelFeatures, Reference, statistics_of

    pixels = PixelFeatures((1, 8, 8))
    features = pixels(255 - images).cpu()
    reference = Reference(statistics_of(features, pixels.fingerprint, "negatives"), features)
    suite = MetricSuite(pixels, {"frechet": FrechetDistance(), "kid": KernelDistance(5, 20)})
    suite.update(images, torch.arange(len(images), device=images.device))
    return dict(suite.compute({"main": reference}, quantization="round").values)
