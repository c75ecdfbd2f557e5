"""SIGKILL at a chosen moment of a process, so that every kind of moment is tested; record of the moment of a random
kill.
"""

from __future__ import annotations

import importlib
import io
import mmap
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOMENTS = {
    "training": "src.lightning_modules.score_sde_module:ScoreSDEModule.training_step",
    "optimizer step": "torch.optim:Adam.step",
    "validation": "src.lightning_modules.score_sde_module:ScoreSDEModule.validation_step",
    "sampling": "src.sampling.solvers.exponential.dpm_solver:DPMSolver.step",
    "scoring": "src.metrics.suite:MetricSuite.compute",
    "checkpoint": "torch:save",
    "renaming": "pathlib:Path.replace",
    "removing": "src.checkpoint.io:AtomicCheckpointIO.remove_checkpoint",
    "table": "src.loggers.csv:_Table.add",
}

_ROOM = 64


@dataclass(frozen=True)
class Death:
    """Kill the process at the start of a call.

    Args:
        moment: one of ``MOMENTS``.
        call: which of the calls, from 1.
    """

    moment: str
    call: int


def prepare(death: Death) -> None:
    """Make the process kill itself at ``death``; a checkpoint is then half written."""
    calls = 0

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == death.call:
                if death.moment == "checkpoint":
                    _write_half(original, *args)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return counted

    _wrap(death.moment, counting)


def trace(file: Path) -> None:
    """Keep the current innermost moment of the process in ``file``; empty outside of all moments."""
    opened = os.open(file, os.O_RDWR | os.O_CREAT)
    os.ftruncate(opened, 0)
    os.ftruncate(opened, _ROOM)
    # Memory-mapped: written without a system call, so it is kept if the process is killed.
    shown = mmap.mmap(opened, _ROOM)
    inside: list[str] = []

    def show() -> None:
        shown[:] = (inside[-1] if inside else "").encode().ljust(_ROOM)

    def showing(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def shown_while(*args: Any, **kwargs: Any) -> Any:
                inside.append(name)
                show()
                try:
                    return original(*args, **kwargs)
                finally:
                    inside.pop()
                    show()

            return shown_while

        return wrap

    for name in MOMENTS:
        _wrap(name, showing(name))


def traced(file: Path) -> str:
    """Return the moment stored in ``file``."""
    return (file.read_text().strip("\0 ") if file.exists() else "") or "elsewhere"


def _wrap(moment: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module_name, _, path = MOMENTS[moment].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, wrapper(getattr(owner, name)))


def _write_half(save: Any, content: Any, file: Any) -> None:
    whole = io.BytesIO()
    save(content, whole)
    file.write(whole.getvalue()[: whole.tell() // 2])
    file.flush()
