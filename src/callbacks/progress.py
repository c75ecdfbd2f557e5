"""Progress of training as plain lines that are readable in a terminal and in a log file."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..progress import LongCall

_log = logging.getLogger(__name__)


class TrainingProgress(Callback):
    """Log step, rate, time left and the newest metrics every few seconds.

    A first step can take minutes, for compilation or on a CPU; until it is done, a line reports the time so far.

    Args:
        every_seconds: seconds between two lines.
    """

    def __init__(self, every_seconds: float = 10.0) -> None:
        self.every_seconds = every_seconds
        self._start = self._last = 0.0
        self._first_step = 0
        self._first = LongCall("the first step", every=every_seconds)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = self._last = time.monotonic()
        self._first_step = trainer.global_step
        self._first = LongCall("the first step", every=self.every_seconds, enabled=trainer.is_global_zero)
        self._first.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._first.end()
        now = time.monotonic()
        finished = trainer.global_step == trainer.max_steps
        if not trainer.is_global_zero or (now - self._last < self.every_seconds and not finished):
            return
        self._last = now
        rate = (trainer.global_step - self._first_step) / max(now - self._start, 1e-9)
        values = " ".join(f"{name} {float(value):.4g}" for name, value in trainer.progress_bar_metrics.items())
        _log.info("step %s of %s, %s, %s left %s", *self._numbers(trainer, rate), values)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._first.end()

    @staticmethod
    def _numbers(trainer: Trainer, rate: float) -> tuple[str, str, str, str]:
        step = f"{trainer.global_step:,}"
        pace = f"{rate:.2f} steps/s" if rate >= 1 or rate == 0 else f"{1 / rate:.2f} s/step"
        if trainer.max_steps < 0 or rate == 0:
            return step, "?", pace, "?"
        left = int((trainer.max_steps - trainer.global_step) / rate)
        return step, f"{trainer.max_steps:,}", pace, f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
