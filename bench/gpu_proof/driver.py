"""Stages as processes of their own: each has its time, and a stage that fails or hangs costs no other."""

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
"""Seconds that are worth starting a stage for."""


@dataclass(frozen=True)
class Stage:
    """One process of the program.

    Attributes:
        name: of its function in ``stages``.
        limit: seconds it may take, from its turn on, or from the end of its preparation if that is later.
        preparation: seconds that it may still prepare at its turn, if it was started early.
        needs: stages that must have succeeded.
        beside: the next stages do not wait for it.
        alone: it measures time: it waits until no other stage runs, and others that prepare are stopped meanwhile.
        early_after: stage after which its process may be started, to prepare before its turn; None: at its turn.
    """

    name: str
    limit: float
    preparation: float = 60.0
    needs: tuple[str, ...] = ()
    beside: bool = False
    alone: bool = True
    early_after: str | None = None


@dataclass
class Running:
    """A stage's process."""

    stage: Stage
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float
    deadline: float = float("inf")
    turn: float = field(default=0.0)


class Driver:
    """Runs stages in order.

    Args:
        setup: what they are told.
        stages: in the order of their turns.
        command: how to start the process of a stage, from its name and the file of the settings.
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
        """The outcome of every stage, as text."""
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
        """Start what may prepare now; what waits for a stage that is not among the chosen starts at once."""
        names = {stage.name for stage in self.stages}
        for stage in self.stages:
            begun = stage.name in self.outcome or stage.name in self._processes
            if stage.early_after is None or begun:
                continue
            if stage.early_after == finished or (finished is None and stage.early_after not in names):
                self._start(stage)

    def _start(self, stage: Stage) -> Running:
        # Not a pipe that somebody would have to read: what it says goes to a file at once.
        log = (self._logs / f"{stage.name}.log").open("wb")
        environment = {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": str(self.setup.work / "inductor"),
            "TRITON_CACHE_DIR": str(self.setup.work / "triton"),
            # Several stages compile at once.
            "TORCHINDUCTOR_COMPILE_THREADS": "8",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        if stage.early_after is not None:
            # They prepare at the same time, on the same cores.
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
        """Wait for the preparation of a stage that was started early; whether it is over, or the process has ended."""
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
        """Stop the processes that prepare while a stage measures alone: they would take its cores and its card."""
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
            pass  # It has ended already; its exit status says why.
        _say(f"{running.stage.name} (at most {limit:.0f} s)")

    def _collect(self, wait: bool, needed: Sequence[str] = ()) -> None:
        """Note which stages beside have ended; wait for all of them, or for the needed ones."""
        for running in list(self._processes.values()):
            if running.turn and (wait or running.stage.name in needed or running.process.poll() is not None):
                self._finish(running)

    def _finish(self, running: Running) -> None:
        """Wait until a stage ends or its time is up."""
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
        _say(f"{name}: {self.outcome[name]}")
        if status != 0:
            _say(self._tail(name))
        self._join_logs()
        self._start_early(name)

    def _kill(self, running: Running) -> None:
        """End a stage's process and all that it has started."""
        _send(running, signal.SIGKILL)
        running.process.wait()
        running.log.close()
        self._processes.pop(running.stage.name, None)

    def _drop(self, stage: Stage, why: str) -> None:
        if stage.name in self._processes:
            self._kill(self._processes[stage.name])
        self.outcome[stage.name] = why
        _say(f"{stage.name}: {why}")

    def _tail(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_bytes()[-_TAIL:].decode(errors="replace").strip()

    def _join_logs(self) -> None:
        """One file of all logs, renewed after every stage."""
        with (self.setup.out / "proof.log").open("wb") as joined:
            for path in sorted(self._logs.glob("*.log")):
                joined.write(f"\n===== {path.stem}\n".encode() + path.read_bytes()[-_KEPT_OF_LOG:])


def _send(running: Running, number: int) -> bool:
    """Send a signal to a stage's process and all that it has started; whether one was there."""
    try:
        os.killpg(running.process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _worker(name: str, settings: Path) -> list[str]:
    return [sys.executable, "-u", "-m", "bench.gpu_proof.worker", name, str(settings)]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
