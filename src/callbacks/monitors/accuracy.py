"""Accuracy of a noise-conditional classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ...errors import UserError
from ...noise import Address
from ...runtime.precision import widest_float


class NoisyAccuracy(Callback):
    """Log ``val/accuracy_<level>``: accuracy on the validation set at fixed noise levels, with the same noise at every
    step.

    Args:
        levels: noise levels sigma / alpha.
        seed: seed of the noise.
    """

    def __init__(self, levels: Sequence[float], seed: int = 0) -> None:
        if not levels or min(levels) <= 0:
            raise UserError(f"callbacks.accuracy.levels={list(levels)}: give at least one, all above 0")
        self.levels = list(levels)
        self.seed = seed
        self._sums: Tensor | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        model: Any = pl_module.model
        x, labels = batch["x"], batch["labels"]
        address = Address(self.seed, 0, batch["index"])
        right = []
        for k, level in enumerate(self.levels):
            t = model.sde.time_of_log_snr(torch.tensor(-math.log(level), dtype=torch.float64))
            t = t.clamp(min=1e-5 * model.sde.T)
            mean, sigma = model.sde.marginal(x, t)
            noise = address.normal(f"accuracy {k}", x)
            right.append((model(mean + sigma * noise, t).argmax(dim=1) == labels).to(widest_float(x.device)).sum())
        sums = torch.stack([*right, x.new_full((), len(x), dtype=widest_float(x.device))])
        self._sums = sums if self._sums is None else self._sums + sums

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = self._sums
        if own is None:
            # A process without data takes part in the sum.
            own = torch.zeros(len(self.levels) + 1, dtype=widest_float(pl_module.device), device=pl_module.device)
        sums = trainer.strategy.reduce(own, reduce_op="sum")
        self._sums = None
        if trainer.sanity_checking:
            return
        values = {
            f"val/accuracy_{level:g}": float(right / sums[-1])
            for level, right in zip(self.levels, sums[:-1], strict=True)
        }
        # Log directly, under the number of finished steps.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=trainer.global_step)
            logger.save()
