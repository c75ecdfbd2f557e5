"""Log lines during training."""

from __future__ import annotations

import logging
import threading
from unittest.mock import create_autospec

import pytest
from lightning.pytorch import LightningModule, Trainer

from src.callbacks.progress import TrainingProgress


def test_a_slow_first_step_logs_its_duration(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    progress = TrainingProgress(every_seconds=10)
    waits = [False, False, True]
    over = threading.Event()

    def wait(seconds: float) -> bool:
        assert seconds == 10
        if waits[0]:
            over.set()
        return waits.pop(0)

    monkeypatch.setattr(progress._first_done, "wait", wait)
    trainer = create_autospec(Trainer, instance=True, is_global_zero=True, global_step=0)
    progress.on_train_start(trainer, create_autospec(LightningModule, instance=True))
    assert over.wait(30)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2 and all(line.startswith("the first step has taken ") for line in lines)


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
