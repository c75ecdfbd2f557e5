"""Samples of the net in training, made by all processes together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from ..distributed import failing_together
from ..errors import UserError
from ..progress import Progress
from ..sampling import Sampler
from ..sampling.conditioning.labels import class_condition
from ..sampling.generation import GeneratedBatch, generate, shard
from .ema import averaged_weights
from .reference import data_of


@dataclass(frozen=True)
class Samples:
    """Which samples to make, and how.

    Args:
        sampler: from the prior to the data.
        count: how many.
        batch_size: how many at a time on one device.
        seed: sample i is the same at every step, but for what the net has learnt.
        frames: states of the trajectories to keep.
    """

    sampler: Sampler
    count: int
    batch_size: int
    seed: int
    frames: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise UserError(f"{self.count} samples in batches of {self.batch_size}: both must be at least 1")

    def make(self, trainer: Trainer, pl_module: LightningModule, consume: Callable[[GeneratedBatch], None]) -> None:
        """Hand this process' share to ``consume``, batch by batch on the CPU.

        Samples are made with averaged weights in evaluation mode.

        Raises:
            UserError: on every process, if one of them cannot make its share.
        """
        with failing_together():
            self._make(trainer, pl_module, consume)

    def _make(self, trainer: Trainer, pl_module: LightningModule, consume: Callable[[GeneratedBatch], None]) -> None:
        datamodule = data_of(trainer)
        model: Any = pl_module.model
        # Every process calls the net equally often, as sharded parameters require; what is beyond the count is dropped.
        rounds = -(-self.count // trainer.world_size)
        indices = shard(range(rounds * trainer.world_size), trainer.global_rank, trainer.world_size)
        with (
            averaged_weights(trainer, pl_module),
            Progress("sampling", len(indices), enabled=trainer.is_global_zero, terminal=False) as progress,
        ):
            for batch in generate(
                model,
                self.sampler,
                datamodule.shape,
                indices,
                seed=self.seed,
                batch_size=self.batch_size,
                condition=class_condition(None, getattr(model.net, "num_classes", None)),
                device=pl_module.device,
                autocast=trainer.precision_plugin.forward_context,
                frames=self.frames,
                on_step=lambda step: progress.begun(len(step.x) * step.index / step.total),
            ):
                progress.add(len(batch.index))
                consume(self._within(batch))

    def _within(self, batch: GeneratedBatch) -> GeneratedBatch:
        mine = batch.index < self.count
        frames = batch.trajectory
        return replace(
            batch,
            index=batch.index[mine],
            samples=batch.samples.cpu()[mine],
            nfe=batch.nfe[mine],
            reach=batch.reach[mine],
            valid=batch.valid[mine],
            trajectory=None if frames is None else frames[:, mine],
        )


def joined(batches: list[GeneratedBatch]) -> GeneratedBatch:
    """All batches as one."""
    frames = [batch.trajectory for batch in batches if batch.trajectory is not None]
    return GeneratedBatch(
        index=torch.cat([batch.index for batch in batches]),
        samples=torch.cat([batch.samples for batch in batches]),
        nfe=torch.cat([batch.nfe for batch in batches]),
        reach=torch.cat([batch.reach for batch in batches]),
        valid=torch.cat([batch.valid for batch in batches]),
        trajectory=torch.cat(frames, dim=1) if frames else None,
    )
