"""Count epochs independently of interruptions."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class EpochCount(Callback):
    """Count epochs by optimizer steps.

    Lightning counts one epoch too few in a run that resumes from the last step of an epoch, and would train one epoch
    more than ``trainer.max_epochs``.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        batches = trainer.num_training_batches
        if not isinstance(batches, int):
            return
        done = trainer.global_step // max(batches // trainer.accumulate_grad_batches, 1)
        progress: Any = trainer.fit_loop.epoch_progress
        for count in (progress.total, progress.current):
            count.ready = count.started = done + 1
            count.processed = count.completed = done
