"""What follows an optimiser step, in an order that makes a resumed run repeat the uninterrupted one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class AfterStep(Callback):
    """Calls ``after_step`` once after every optimiser step, when all else that belongs to the step is done.

    The row of the step is in the loggers by then, and where validation is due it has been run: a checkpoint written
    earlier would have the resumed run skip both. Inside an accumulation window nothing is called.
    """

    _steps_seen = 0
    _validation_first = False

    @abstractmethod
    def after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is to be done now, after optimiser step ``trainer.global_step``."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps_seen = trainer.global_step
        self._validation_first = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps_seen:
            return
        self._steps_seen = trainer.global_step
        self._validation_first = _validation_follows(trainer)
        if not self._validation_first:
            self.after_step(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validation_first:
            self._validation_first = False
            self.after_step(trainer, pl_module)


def _validation_follows(trainer: Trainer) -> bool:
    # Asked of Lightning itself: it has many ways to say when validation is due.
    fetcher: Any = trainer.fit_loop._data_fetcher
    epoch_loop = trainer.fit_loop.epoch_loop
    if not epoch_loop._should_check_val_fx(fetcher):
        return False
    # Without a single batch Lightning leaves validation out, and its hooks with it.
    epoch_loop.val_loop.setup_data()
    return not epoch_loop.val_loop.skip
