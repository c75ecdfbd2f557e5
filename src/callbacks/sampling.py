"""Samples of the net in training, made by all processes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ..data_range import check_quantize
from ..errors import UserError
from ..sampling import Sampler
from ..sampling.conditioning.labels import class_condition
from ..sampling.generation import Generation, Sink
from ..sampling.statistics import Statistics
from .ema import averaged_weights


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
        if self.count < 1 or self.batch_size < 1:
            raise UserError(f"{self.count} samples in batches of {self.batch_size}: both must be at least 1")

    def make(self, trainer: Trainer, pl_module: LightningModule, sinks: Sequence[Sink]) -> Statistics:
        """Hand samples of the averaged weights in evaluation mode to ``sinks``; all processes call it.

        Raises:
            UserError: on every process, if one of them cannot make its share.
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
        with averaged_weights(trainer, pl_module):
            return generation.run(range(self.count), sinks, frames=self.frames, equal_calls=True, terminal=False)


def data_of(trainer: Trainer) -> Any:
    """The datamodule of a run."""
    # Lightning sets it from outside the class.
    return trainer.datamodule  # type: ignore[attr-defined]
