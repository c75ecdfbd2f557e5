"""Run entry scripts and modules as separate processes that start fast.

Importing torch and Lightning takes longer than the runs tested here. A fork server imports them once, and every process
is a fork that runs ``train.py`` from its first line to its exit code. It has its own id, signals, descriptors and
environment, can be killed like any other process, and lacks the shape checks of the test session.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability.support import deaths
from tests.support import quick_hydra

ROOT = Path(__file__).parents[3]
# One thread per process: threads of several processes would compete for cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
IMPORTED_ONCE = (
    "src.tasks.train.task",
    "src.tasks.sample.task",
    "src.callbacks.monitors.fid",
    "src.callbacks.monitors.sample_images",
    "src.callbacks.ema",
    "src.datamodules.digits",
    "src.loggers",
    "src.metrics.extractors.pixel",
    "src.callbacks.progress",
    "src.callbacks.stop_on_signal",
    "src.commands.train",
    "src.lightning_modules.schedules",
    "src.sde.objectives",
    "src.sde.average_velocity",
    "src.sampling.solvers.pc",
    "src.sampling.solvers.exponential.dpm_solver",
    "sklearn.datasets",
    "tests.reliability.support.forked",
)

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.reliability.support.entry", *IMPORTED_ONCE])


@dataclass(frozen=True)
class Ended:
    """Result of a finished process.

    Args:
        code: exit code; negative for the signal that killed it.
        out: standard output.
        err: standard error.
    """

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """Lines that start with "error: "."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Started:
    """A running entry script or module.

    Args:
        arguments: the script (``train.py``) or module (``tests.nets.test_compiled``) and its arguments.
        folder: where its output is kept.
        environment: additional environment variables.
        death: where the process kills itself, see ``deaths``; None for never.
        trace: file for the current moment, see ``deaths``; None for none.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        death: deaths.Death | None = None,
        trace: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.out")))
        self._files = folder / f"{number}.out", folder / f"{number}.err"
        for file in self._files:
            file.touch()
        self.process: Any = context.Process(
            target=_run, args=(list(arguments), self._files, {**ONE_THREAD, **(environment or {})}, death, trace)
        )
        self.process.start()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._files[1].read_text()

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._files[0].read_text()

    def alive(self) -> bool:
        return bool(self.process.is_alive())

    def send(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 240.0) -> Ended:
        """Wait for the end; raise TimeoutError after ``seconds``."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"still running after {seconds} s:\n{self.out}\n{self.err}")
        return Ended(self.process.exitcode, self.out, self.err)


def start_ranks(arguments: Sequence[str], folder: Path, count: int = 2) -> list[Started]:
    """Start ``count`` ranks of one command, as torchrun does; the output of rank i is kept in ``folder/ranki``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    common |= {"LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    return [
        Started(arguments, folder / f"rank{rank}", {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]


def train(*arguments: str, folder: Path, seconds: float = 240.0, **settings: Any) -> Ended:
    """Run ``python train.py ...`` to its end, at most ``seconds``."""
    return Started(["train.py", *arguments], folder, **settings).wait(seconds)


def _run(
    arguments: list[str],
    files: tuple[Path, Path],
    environment: Mapping[str, str],
    death: deaths.Death | None,
    trace: Path | None,
) -> None:
    for descriptor, file in enumerate(files, start=1):
        opened = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.update(environment)
    os.chdir(ROOT)
    # A shell in the background starts its children with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = arguments
    if death is not None:
        deaths.prepare(death)
    if trace is not None:
        deaths.trace(trace)
    with quick_hydra.compose_once():
        start = runpy.run_path if arguments[0].endswith(".py") else runpy.run_module
        start(arguments[0], run_name="__main__")
