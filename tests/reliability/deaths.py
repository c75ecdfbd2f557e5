"""SIGKILL at a chosen moment inside a process, so that every kind of moment is tried and not only likely ones."""

from __future__ import annotations

import importlib
import io
import os
import signal
from dataclasses import dataclass
from typing import Any

MOMENTS = {
    "training": "src.lightning_modules.score_sde_module:ScoreSDEModule.training_step",
    "optimiser step": "torch.optim:Adam.step",
    "validation": "src.lightning_modules.score_sde_module:ScoreSDEModule.validation_step",
    "sampling": "src.sampling.pc:PredictorCorrector.step",
    "scoring": "src.metrics.suite:MetricSuite.compute",
    "checkpoint": "torch:save",
    "renaming": "pathlib:Path.replace",
    "removing": "src.checkpoint.io:AtomicCheckpointIO.remove_checkpoint",
    "table": "lightning.fabric.loggers.csv_logs:_ExperimentWriter.save",
}


@dataclass(frozen=True)
class Death:
    """Die at the beginning of a call.

    Args:
        moment: one of ``MOMENTS``.
        call: which of the calls, from 1.
    """

    moment: str
    call: int


def prepare(death: Death) -> None:
    """From now on the process dies at ``death``; a checkpoint is then half on the disk."""
    module_name, _, path = MOMENTS[death.moment].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == death.call:
            if death.moment == "checkpoint":
                _write_half(original, *args)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def _write_half(save: Any, content: Any, file: Any) -> None:
    whole = io.BytesIO()
    save(content, whole)
    file.write(whole.getvalue()[: whole.tell() // 2])
    file.flush()
