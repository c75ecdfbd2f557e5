"""A picture of what a score model of points in the plane has learned."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ...distributed import on_rank_zero
from ...errors import UserError
from ...io.step_names import step_name
from ...loggers import log_picture
from ...sampling import Sampler
from ...sinks.collect import Collect
from ...sinks.pictures import save_picture
from ...toy.view import ToyView, exact_model, make_view
from ..ema import averaged_weights
from .periodic import Periodic
from .sampling import TrainingSamples, data_of

_log = logging.getLogger(__name__)


class ToyPicture(Periodic):
    """Write ``step<optimizer step>.png`` and pass it to the loggers.

    The picture shows data and samples, learned and exact score, trajectories of the probability-flow ODE, learned and
    exact log-likelihood. Exact values exist for Gaussian mixtures. Averaged weights are used if there are any. Loggers
    also receive ``toy/log_likelihood`` in nats and, for a mixture, ``toy/exact_log_likelihood`` and
    ``toy/score_error``.

    Args:
        every_n_steps: optimizer steps between two pictures; the last step always has one.
        num_samples: number of samples and of evaluation points.
        seed: seed of the samples.
        sampler: sampler that generates them.
        output_dir: folder of the pictures.
        resolution: points in a row of the density.

    Raises:
        UserError: the data are not points in the plane.
    """

    def __init__(
        self,
        every_n_steps: int,
        num_samples: int,
        seed: int,
        sampler: Sampler,
        output_dir: str | Path,
        resolution: int = 64,
    ) -> None:
        super().__init__(every_n_steps)
        self.samples = TrainingSamples(sampler, num_samples, num_samples, seed)
        self.output_dir = Path(output_dir)
        self.resolution = resolution

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        shape = tuple(data_of(trainer).shape)
        if shape != (2,):
            raise UserError(
                f"callbacks.toy_picture shows points in the plane, but the data have shape {shape}: leave it out",
                shared=True,
            )

    def is_done(self, step: int) -> bool:
        return (self.output_dir / step_name(step, ".png")).exists()

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        made = Collect(data_of(trainer).shape)
        statistics = self.samples.make(trainer, pl_module, [made], "picture")
        if statistics.invalid:
            _log.warning("step %d: %d samples are not finite", trainer.global_step, len(statistics.invalid))
        with averaged_weights(trainer, pl_module):
            on_rank_zero(lambda: self._publish(trainer, pl_module, made.samples[made.valid]))

    def _publish(self, trainer: Trainer, pl_module: LightningModule, samples: Tensor) -> None:
        from ...toy.plot import plot  # imported here: the import is slow

        model: Any = pl_module.model
        datamodule = data_of(trainer)
        data = datamodule.sample(self.samples.count).to(pl_module.device)
        exact = exact_model(model, datamodule)
        try:
            view = make_view(model, exact, data, samples.to(pl_module.device), self.resolution)
        except UserError as error:
            # Early in training the ODE can be too stiff to solve.
            _log.warning("step %d: no picture, %s", trainer.global_step, error)
            return
        values = _values(view)
        step = trainer.global_step
        words = ", ".join(
            f"{name.removeprefix('toy/').replace('_', ' ')} {value:.4g}" for name, value in values.items()
        )
        title = f"{datamodule.kind}, {type(model.sde).__name__}, {step:,} steps: {words}"
        _log.info("step %d: %s", step, words)
        image = plot(view, title)
        save_picture(self.output_dir / step_name(step, ".png"), image)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=step)
            log_picture(logger, "toy", torch.movedim(image, 0, -1).numpy(), step)


def _values(view: ToyView) -> dict[str, float]:
    values = {"toy/log_likelihood": float(view.log_p.mean())}
    if view.exact_log_p is not None:
        values["toy/exact_log_likelihood"] = float(view.exact_log_p.mean())
    if view.score_error is not None:
        values["toy/score_error"] = view.score_error
    return values
