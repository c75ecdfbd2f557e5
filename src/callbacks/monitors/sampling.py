"""Samples of the net in training, made by all processes together."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ...data_range import check_quantize
from ...errors import UserError
from ...noise import check_seed
from ...progress import duration
from ...sampling import Sampler
from ...sampling.conditioning.labels import class_condition
from ...sampling.generation import Generation, Sink
from ...sampling.output import SamplerStep
from ...sampling.statistics import Statistics
from ..ema import averaged_weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSamples:
    """Which samples to make during training, and how.

    Args:
        sampler: from the prior to the data.
        count: how many.
        batch_size: how many at a time on one device.
        seed: sample i starts from the same noise at every training step.
        quantize: how images become bytes, ``round`` or ``truncate``.
        frames: states of the trajectories to keep.

    Raises:
        UserError: a setting out of range.
    """

    sampler: Sampler
    count: int
    batch_size: int
    seed: int
    quantize: str = "round"
    frames: int = 0

    def __post_init__(self) -> None:
        check_quantize(self.quantize)
        check_seed(self.seed)
        if self.count < 1 or self.batch_size < 1:
            raise UserError(f"{self.count} samples in batches of {self.batch_size}: both must be at least 1")

    def make(self, trainer: Trainer, pl_module: LightningModule, sinks: Sequence[Sink], task: str) -> Statistics:
        """Hand samples of the averaged weights in evaluation mode to ``sinks``; all processes call it.

        After the first step of the sampler a line says how many evaluations of the net ``task`` takes, and how long.

        Raises:
            UserError: on every process, if one of them cannot make its share.
            signals.Stopped: on every process, if one received a signal.
        """
        model: Any = pl_module.model
        generation = Generation(
            model,
            self.sampler,
            tuple(data_of(trainer).shape),
            self.seed,
            self.batch_size,
            model.data_range,
            self.quantize,
            conditioning=class_condition(None, getattr(model.net, "num_classes", None)),
            device=pl_module.device,
            autocast=trainer.precision_plugin.forward_context,
            values=data_of(trainer).values,
        )
        rounds = math.ceil(self.count / trainer.world_size / self.batch_size)
        announcement = _Announcement(f"step {trainer.global_step}: {task}", self.count, rounds, model)
        with averaged_weights(trainer, pl_module):
            try:
                return generation.run(
                    range(self.count),
                    sinks,
                    frames=self.frames,
                    equal_calls=True,
                    task=task,
                    terminal=False,
                    on_step=announcement if trainer.is_global_zero else None,
                )
            finally:
                announcement.stop_counting()


class _Announcement:
    """Says after the first step of a sampler what all of it will cost."""

    def __init__(self, task: str, count: int, rounds: int, model: Any) -> None:
        self._task, self._count, self._rounds = task, count, rounds
        self._calls = 0
        self._start = time.monotonic()
        self._hook = model.register_forward_pre_hook(self._called)
        self._waiting = True

    def __call__(self, step: SamplerStep) -> None:
        if not self._waiting:
            return
        self.stop_counting()
        seconds = (time.monotonic() - self._start) / step.index * step.total * self._rounds
        evaluations = self._calls / step.index * step.total * self._count
        _log.info(
            "%s: %d samples, about %s evaluations of the net, about %s",
            self._task,
            self._count,
            f"{round(evaluations):,}",
            duration(seconds),
        )

    def stop_counting(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()
        self._waiting = False

    def _called(self, module: Any, arguments: Any) -> None:
        self._calls += 1


def data_of(trainer: Trainer) -> Any:
    """The datamodule of a run."""
    # Lightning sets it from outside the class.
    return trainer.datamodule  # type: ignore[attr-defined]
