"""Pictures of samples during training."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ...distributed import on_rank_zero
from ...io.step_names import step_name
from ...loggers import log_picture
from ...sampling import Sampler
from ...sinks.collect import Collect
from ...sinks.pictures import picture, save_film, save_picture
from .periodic import Periodic
from .sampling import TrainingSamples, data_of

_log = logging.getLogger(__name__)

_FRAMES = 30


class SampleImages(Periodic):
    """Write ``step<optimizer step>.png`` with the same samples at each time, and pass it to the loggers.

    Each process generates its share, with averaged weights if there are any. Diverged samples are black.

    Args:
        every_n_steps: optimizer steps between two pictures; the last step always has one.
        num_images: number of samples.
        seed: seed of the samples.
        sampler: sampler that generates them.
        output_dir: folder of the pictures.
        trajectory: whether to write an animated GIF of the trajectories from the prior too.
        batch_size: samples per batch on one device.
        quantize: how floats are converted to 8-bit values, ``round`` or ``truncate``.
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
        self.samples = TrainingSamples(sampler, num_images, batch_size, seed, quantize, _FRAMES if trajectory else 0)
        self.output_dir = Path(output_dir)

    def is_done(self, step: int) -> bool:
        return (self.output_dir / step_name(step, ".png")).exists()

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        made = Collect(data_of(trainer).shape)
        statistics = self.samples.make(trainer, pl_module, [made], "pictures")
        if statistics.invalid:
            _log.warning("%d of %d samples diverged or are not finite", len(statistics.invalid), statistics.count)
        on_rank_zero(lambda: self._publish(trainer, made.with_blanks(), made.frames))

    def _publish(self, trainer: Trainer, samples: Tensor, frames: Tensor) -> None:
        image = picture(samples)
        if image is None:
            _log.warning("samples of shape %s cannot be drawn", tuple(samples.shape[1:]))
            return
        path = self.output_dir / step_name(trainer.global_step, ".png")
        save_picture(path, image)
        if len(frames):
            pictures = [picture(frame) for frame in frames]
            save_film(path.with_suffix(".gif"), [frame for frame in pictures if frame is not None])
        step = trainer.global_step
        for logger in trainer.loggers:
            log_picture(logger, "samples", torch.movedim(image, 0, -1).numpy(), step)
