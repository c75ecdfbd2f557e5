"""Log lines during training."""

from __future__ import annotations

import threading
from unittest.mock import create_autospec

import pytest
from lightning.pytorch import LightningModule, Trainer

from src.callbacks.progress import TrainingProgress


def test_the_first_batch_stops_the_log_thread() -> None:
    progress = TrainingProgress(every_seconds=1e6)
    trainer = create_autospec(Trainer, instance=True, is_global_zero=True, global_step=0, max_steps=-1)
    trainer.progress_bar_metrics = {}
    before = set(threading.enumerate())
    progress.on_train_start(trainer, create_autospec(LightningModule, instance=True))
    (waiting,) = set(threading.enumerate()) - before
    progress.on_train_batch_end(trainer, create_autospec(LightningModule, instance=True), None, None, 0)
    waiting.join(30)
    assert not waiting.is_alive()


@pytest.mark.parametrize("is_global_zero", [True, False])
def test_the_first_process_reports_a_slow_first_step(is_global_zero: bool) -> None:
    progress = TrainingProgress(every_seconds=1e6)
    trainer = create_autospec(Trainer, instance=True, is_global_zero=is_global_zero, global_step=0)
    before = set(threading.enumerate())
    progress.on_train_start(trainer, create_autospec(LightningModule, instance=True))
    assert len(set(threading.enumerate()) - before) == is_global_zero
    progress.teardown(trainer, create_autospec(LightningModule, instance=True), "fit")
