"""Lines while a training runs."""

from __future__ import annotations

import logging
import threading
from unittest.mock import create_autospec

import pytest
from lightning.pytorch import LightningModule, Trainer

from src.callbacks.progress import TrainingProgress


def test_a_slow_first_step_says_how_long_it_has_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_the_first_batch_ends_the_waiting() -> None:
    progress = TrainingProgress(every_seconds=1e6)
    trainer = create_autospec(Trainer, instance=True, is_global_zero=True, global_step=0, max_steps=-1)
    trainer.progress_bar_metrics = {}
    before = threading.active_count()
    progress.on_train_start(trainer, create_autospec(LightningModule, instance=True))
    assert threading.active_count() == before + 1
    progress.on_train_batch_end(trainer, create_autospec(LightningModule, instance=True), None, None, 0)
    for thread in threading.enumerate():
        if thread.daemon and "_wait_for_first_batch" in thread.name:
            thread.join(30)
            assert not thread.is_alive()
