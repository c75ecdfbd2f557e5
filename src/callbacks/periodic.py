"""What happens every so many optimiser steps, beside training and without a trace in it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from ..errors import UserError
from .after_step import AfterStep


class Periodic(AfterStep, ABC):
    """Calls ``run`` after every n-th optimiser step and after the last one, on all processes.

    The state of every global random number generator is put back afterwards. Not in Lightning's ``fast_dev_run``,
    which is to be fast.

    Args:
        every_n_steps: optimiser steps between two calls.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise UserError(f"{type(self).__name__} every {every_n_steps} steps: choose at least 1")
        self.every_n_steps = every_n_steps

    @abstractmethod
    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is to be done now, after optimiser step ``trainer.global_step``."""

    def after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set from outside its class
            return
        step = trainer.global_step
        if step % self.every_n_steps == 0 or step == trainer.max_steps or _ends_with_this_batch(trainer):
            with isolate_rng():
                self.run(trainer, pl_module)


def _ends_with_this_batch(trainer: Trainer) -> bool:
    epochs = trainer.max_epochs
    return trainer.is_last_batch and epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
