"""A hook after each optimizer step, ordered such that a resumed run repeats the uninterrupted one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class AfterStep(Callback):
    """Call ``after_step`` once after every optimizer step, when all other work of the step is done.

    The loggers have received the row of the step, and due validation has run. A checkpoint written earlier would make
    the resumed run skip both. The hook is not called inside an accumulation window. The last step of a training is
    announced with ``last=True``, if necessary by a second call.
    """

    _steps_seen = 0
    _ended_at: int | None = None
    _validation_first = False

    @abstractmethod
    def after_step(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        """Do what is due after optimizer step ``trainer.global_step``.

        Args:
            trainer: trainer of the run.
            pl_module: module in training.
            last: whether training ends with this step. If this becomes known late, the hook is called a second time for
                the step.
        """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps_seen = trainer.global_step
        self._ended_at = None
        self._validation_first = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps_seen:
            return
        self._steps_seen = trainer.global_step
        self._validation_first = _validation_follows(trainer)
        if not self._validation_first:
            self._call(trainer, pl_module, _ends_here(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._validation_first:
            self._validation_first = False
            self._call(trainer, pl_module, _ends_here(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The end of training is not always known beforehand: `should_stop` can be set at the end of an epoch.
        if self._ended_at != trainer.global_step and trainer.global_step > 0:
            self._call(trainer, pl_module, True)

    def _call(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        if last:
            self._ended_at = trainer.global_step
        self.after_step(trainer, pl_module, last)


def _ends_here(trainer: Trainer) -> bool:
    epochs = trainer.max_epochs
    last_epoch = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
    return trainer.fit_loop.done or (trainer.is_last_batch and last_epoch)


def _validation_follows(trainer: Trainer) -> bool:
    # Ask Lightning: it has many ways to say when validation is due.
    fetcher: Any = trainer.fit_loop._data_fetcher
    epoch_loop = trainer.fit_loop.epoch_loop
    if not epoch_loop._should_check_val_fx(fetcher):
        return False
    # Without any batch, Lightning skips validation and its hooks.
    epoch_loop.val_loop.setup_data()
    return not epoch_loop.val_loop.skip
