"""Run ``train.py experiment=cifar10_speedrun``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup
from bench.rows import row

SECTION = "CIFAR-10 speedrun"
_START, _AFTER = 30.0, 75.0
"""Seconds before the first step of train.py, and seconds for sampling and scoring."""


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Train for the remaining time, at most ``Setup.train_seconds``."""

    def fit() -> None:
        left = setup.seconds_left - (0.0 if setup.small else _START + _AFTER)
        seconds = min(setup.train_seconds, max(left, 10.0))
        start = time.perf_counter()
        commands.train(setup, commands.RUN, f"callbacks.time_budget.seconds={seconds:.0f}")
        taken = time.perf_counter() - start
        read = torch.load(commands.checkpoint(setup, commands.RUN), weights_only=True, mmap=True)
        steps, batch = read["global_step"], read["config"]["datamodule"]["global_batch_size"]
        metrics = json.loads((setup.work / commands.RUN / "result.json").read_text(encoding="utf-8"))["metrics"]
        spent = read["callbacks"]["TimeBudget"]["elapsed"]
        parameters = sum(value.numel() for value in read["ema"]["default"].values())
        record_row(row(SECTION, "parameters", parameters / 1e6, "M"))
        record_row(row(SECTION, "training, first step to last", spent, "s"))
        record_row(row(SECTION, "training, the whole command", taken, "s"))
        record_row(row(SECTION, "optimizer steps", float(steps), "steps"))
        record_row(row(SECTION, "images seen", steps * batch / 1e6, "M"))
        record_row(row(SECTION, "training with compilation", steps * batch / spent, "images/s"))
        if "train/loss" in metrics:
            record_row(row(SECTION, "loss at the end", metrics["train/loss"], ""))

    return fit
