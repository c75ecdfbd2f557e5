"""Pictures of what the net has learnt so far."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ..data_range import check_quantize, to_bytes
from ..distributed import gather_rows, on_rank_zero
from ..sampling import Sampler
from ..sampling.generation import GeneratedBatch
from .periodic import Periodic
from .pictures import picture, save_film, save_picture
from .sampling import Samples, joined

_log = logging.getLogger(__name__)

_FRAMES = 30


class SampleImages(Periodic):
    """Writes ``step=<optimiser step>.png``, the same samples each time, and hands it to the loggers.

    All processes make a share. Averaged weights are used where there are any. Samples that diverged are black.

    Args:
        every_n_steps: optimiser steps between two pictures; the last step always has one.
        num_images: how many samples.
        seed: of the samples.
        sampler: how they are made.
        output_dir: where pictures go.
        trajectory: a film of the way from the prior too, as a GIF.
        batch_size: samples at a time on one device.
        quantize: how floats become bytes, ``round`` or ``truncate``.
    """

    def __init__(
        self,
        every_n_steps: int,
        num_images: int,
        seed: int,
        sampler: Sampler,
        output_dir: str | Path,
        trajectory: bool = False,
        batch_size: int = 64,
        quantize: str = "round",
    ) -> None:
        super().__init__(every_n_steps)
        self.samples = Samples(sampler, num_images, batch_size, seed, _FRAMES if trajectory else 0)
        self.output_dir = Path(output_dir)
        self.quantize = check_quantize(quantize)

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches: list[GeneratedBatch] = []
        self.samples.make(trainer, pl_module, batches.append)
        made = joined(batches)
        order = gather_rows(made.index).argsort()
        model: Any = pl_module.model
        is_image = made.samples.ndim == 4

        def gathered(states: Tensor) -> Tensor:
            return gather_rows(to_bytes(states, model.data_range, self.quantize) if is_image else states)[order]

        valid = gather_rows(made.valid)
        frames = None
        if made.trajectory is not None:
            frames = gathered(made.trajectory.transpose(0, 1)).transpose(0, 1)
        if not valid.all():
            _log.warning("%d of %d samples diverged or are not finite", int((~valid).sum()), len(valid))
        # What has diverged must not look like a sample.
        blank = ~made.valid.reshape(-1, *(1,) * (made.samples.ndim - 1))
        samples = gathered(made.samples.masked_fill(blank, math.nan))
        on_rank_zero(lambda: self._publish(trainer, samples, frames))

    def _publish(self, trainer: Trainer, samples: Tensor, frames: Tensor | None) -> None:
        image = picture(samples)
        if image is None:
            _log.warning("samples of shape %s have no picture", tuple(samples.shape[1:]))
            return
        path = self.output_dir / f"step={trainer.global_step:08d}.png"
        save_picture(path, image)
        if frames is not None:
            pictures = [picture(frame) for frame in frames]
            save_film(path.with_suffix(".gif"), [frame for frame in pictures if frame is not None])
        step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", image.numpy(), step)
            elif hasattr(logger, "log_image"):
                logger.log_image("samples", [torch.movedim(image, 0, -1).numpy()], step=step)
