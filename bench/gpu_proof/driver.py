"""Run stages in separate processes: each has a time limit, and a failing or hanging stage does not affect others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.gpu_proof.setup import Setup
from bench.gpu_proof.turn import READY
from bench.report import ROOT

Command = Callable[[str, Path], list[str]]

_TAIL = 1500
_KEPT_OF_LOG = 300_000
_LEAST = 5.0
"""Shortest time for which a stage is started, in seconds."""


@dataclass(frozen=True)
class Stage:
    """One process of the program.

    Attributes:
        name: name of the stage.
        limit: seconds it may take, from its turn or, if later, from the end of its preparation.
        preparation: seconds it may still prepare at its turn, if it was started early.
        needs: stages that must have succeeded.
        beside: the following stages do not wait for it.
        alone: it measures time: it waits until no other stage runs, and preparing stages are paused meanwhile.
        early_after: stage after which its process may start, to prepare before its turn; None: at its turn.
        packages: Python modules that it needs in addition to ``plan.PACKAGES``.
    """

    name: str
    limit: float
    preparation: float = 60.0
    needs: tuple[str, ...] = ()
    beside: bool = False
    alone: bool = True
    early_after: str | None = None
    packages: tuple[str, ...] = ()


@dataclass
class Running:
    """The process of a stage."""

    stage: Stage
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float
    deadline: float = float("inf")
    turn: float = field(default=0.0)


class Driver:
    """Run stages in order.

    Args:
        setup: settings of the stages.
        stages: stages in the order of their turns.
        command: returns the command of a stage's process from its name and the settings file.
    """

    def __init__(self, setup: Setup, stages: Sequence[Stage], command: Command | None = None) -> None:
        self.setup = setup
        self.stages = list(stages)
        self._command = command or _worker
        self.outcome: dict[str, str] = {}
        self._processes: dict[str, Running] = {}
        self._settings = setup.save()
        self._logs = setup.work / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, str]:
        """Run all stages and return their outcomes as text."""
        self._start_early(None)
        for stage in self.stages:
            self._collect(wait=stage.alone, needed=stage.needs)
            missing = [name for name in stage.needs if self.outcome.get(name, "ok")[:2] != "ok"]
            limit = min(stage.limit, self.setup.seconds_left)
            if missing or limit < _LEAST:
                self._drop(stage, f"left out: {', '.join(missing)} failed" if missing else "left out: no time left")
                continue
            running = self._processes.get(stage.name) or self._start(stage)
            if not self._is_ready(running):
                self._drop(stage, f"stopped: not prepared within {stage.preparation:g} s of its turn")
                continue
            with self._others_stopped(running):
                self._go(running, min(limit, self.setup.seconds_left))
                if not stage.beside:
                    self._finish(running)
        self._collect(wait=True)
        return self.outcome

    def stop(self) -> None:
        """End every process."""
        for running in list(self._processes.values()):
            self._kill(running)

    def _start_early(self, finished: str | None) -> None:
        """Start the stages that may prepare now; if the stage they wait for was not chosen, start them at once."""
        names = {stage.name for stage in self.stages}
        for stage in self.stages:
            begun = stage.name in self.outcome or stage.name in self._processes
            if stage.early_after is None or begun:
                continue
            if stage.early_after == finished or (finished is None and stage.early_after not in names):
                self._start(stage)

    def _start(self, stage: Stage) -> Running:
        # Output goes to a file at once; a pipe would have to be read.
        log = (self._logs / f"{stage.name}.log").open("wb")
        environment = {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": str(self.setup.work / "inductor"),
            "TRITON_CACHE_DIR": str(self.setup.work / "triton"),
            # Several stages compile at the same time.
            "TORCHINDUCTOR_COMPILE_THREADS": "8",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        if stage.early_after is not None:
            # Several stages prepare on the same cores.
            environment.setdefault("OMP_NUM_THREADS", "4")
            ready = self._ready(stage.name)
            ready.unlink(missing_ok=True)
            environment[READY] = str(ready)
        process = subprocess.Popen(
            self._command(stage.name, self._settings),
            stdin=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        running = Running(stage, process, log, time.monotonic())
        self._processes[stage.name] = running
        return running

    def _ready(self, name: str) -> Path:
        return self._logs / f"{name}.ready"

    def _is_ready(self, running: Running) -> bool:
        """Wait for the preparation of a stage that was started early; return False if it takes too long."""
        until = time.monotonic() + min(running.stage.preparation, self.setup.seconds_left)
        while running.stage.early_after is not None and running.process.poll() is None:
            if self._ready(running.stage.name).exists():
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    @contextlib.contextmanager
    def _others_stopped(self, running: Running) -> Iterator[None]:
        """Pause the preparing processes while a stage measures alone; they would use its cores and its GPU."""
        others = [other for other in self._processes.values() if other is not running and not other.turn]
        stopped = [other for other in others if running.stage.alone and _send(other, signal.SIGSTOP)]
        try:
            yield
        finally:
            for other in stopped:
                _send(other, signal.SIGCONT)

    def _go(self, running: Running, limit: float) -> None:
        running.turn = time.monotonic()
        running.deadline = running.turn + limit
        assert running.process.stdin is not None
        try:
            running.process.stdin.write(b"go\n")
            running.process.stdin.close()
        except BrokenPipeError:
            pass  # The process has already ended; its exit status tells why.
        _log_line(f"{running.stage.name} (at most {limit:.0f} s)")

    def _collect(self, wait: bool, needed: Sequence[str] = ()) -> None:
        """Collect parallel stages that have ended; wait for all of them, or for the needed ones."""
        for running in list(self._processes.values()):
            if running.turn and (wait or running.stage.name in needed or running.process.poll() is not None):
                self._finish(running)

    def _finish(self, running: Running) -> None:
        """Wait until a stage ends or its time is used."""
        try:
            status = running.process.wait(max(0.0, running.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = None
        self._kill(running)
        seconds = time.monotonic() - running.turn
        name = running.stage.name
        if status == 0:
            self.outcome[name] = f"ok, {seconds:.0f} s"
        elif status is None:
            self.outcome[name] = f"stopped after its {seconds:.0f} s"
        else:
            self.outcome[name] = f"failed with status {status} after {seconds:.0f} s"
        _log_line(f"{name}: {self.outcome[name]}")
        if status != 0:
            _log_line(self._tail(name))
        self._join_logs()
        self._start_early(name)

    def _kill(self, running: Running) -> None:
        """End a stage's process and all its children."""
        _send(running, signal.SIGKILL)
        running.process.wait()
        running.log.close()
        self._processes.pop(running.stage.name, None)

    def _drop(self, stage: Stage, why: str) -> None:
        if stage.name in self._processes:
            self._kill(self._processes[stage.name])
        self.outcome[stage.name] = why
        _log_line(f"{stage.name}: {why}")

    def _tail(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_bytes()[-_TAIL:].decode(errors="replace").strip()

    def _join_logs(self) -> None:
        """Write one file with all logs, after every stage."""
        with (self.setup.out / "proof.log").open("wb") as joined:
            for path in sorted(self._logs.glob("*.log")):
                joined.write(f"\n===== {path.stem}\n".encode() + path.read_bytes()[-_KEPT_OF_LOG:])


def _send(running: Running, number: int) -> bool:
    """Send a signal to a stage's process group; return whether it existed."""
    try:
        os.killpg(running.process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _worker(name: str, settings: Path) -> list[str]:
    return [sys.executable, "-u", "-m", "bench.gpu_proof.worker", name, str(settings)]


def _log_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
