"""Run commands on hostile files in child processes, and watch time, memory and all files."""

from __future__ import annotations

import copy
import faulthandler
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.entry import run_log
from tests.reliability.hostile.entrances import OF_DATA
from tests.reliability.hostile.entrances_of_runs import OF_RUNS
from tests.reliability.hostile.files import (
    any_file,
    archives,
    arrays,
    checkpoints,
    documents,
    networks,
    pictures,
    safetensors,
    torch_archives,
)
from tests.reliability.hostile.files.kinds import SECRET, Kind
from tests.reliability.hostile.world import Entrance, World
from tests.reliability.support.entry import ROOT, context
from tests.reliability.support.in_process import call

SECONDS = 30
"""Limit of the processor time of a command."""
_WAIT = 10 * SECONDS
"""Limit of the whole duration; the machine may be busy with other work."""
MEMORY = 400 << 20
"""Bytes that a command may use in addition to those of the process."""
_MOST = 8 << 30
_VARIABLE = "SECRET_OF_THE_TEST"
_CACHES = ("data", "cache")

_MODULES = (any_file, pictures, archives, arrays, documents, checkpoints, torch_archives, safetensors, networks)
KINDS = [kind for module in _MODULES for kind in module.KINDS]


@dataclass(frozen=True)
class Case:
    """A kind of hostile file at an entrance."""

    kind: Kind
    entrance: Entrance

    @property
    def name(self) -> str:
        """Names of entrance and kind."""
        return f"{self.entrance.name}: {self.kind.name}"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case.

    Attributes:
        case: name of the case.
        ended: ``one line`` or ``work done``; otherwise the failure.
        line: the message.
        seconds: duration.
        megabytes: memory used in addition to that of the process.
    """

    case: str
    ended: str
    line: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the outcome is allowed."""
        return self.ended in ("one line", "work done")


ENTRANCES = [*OF_DATA, *OF_RUNS]
CASES = [Case(kind, entrance) for entrance in ENTRANCES for kind in KINDS if kind.tag in entrance.tags]


class Hangs(BaseException):
    """The time limit; no exception handler of the command catches it."""


def run(cases: Sequence[Case], folder: Path) -> Iterator[Outcome]:
    """Yield the outcome of every case, using a new process only after one died."""
    if not (folder / "world").exists():
        maker = context.Process(target=World.make, args=(folder / "world",))
        maker.start()
        maker.join()
        assert maker.exitcode == 0, "the valid files could not be made"
    left = list(cases)
    while left:
        results = folder / "results.jsonl"
        results.unlink(missing_ok=True)
        worker = context.Process(target=_work, args=([CASES.index(case) for case in left], folder, results))
        worker.start()
        results.touch()
        with results.open() as file:
            alive = True
            while alive:
                worker.join(0.2)
                # Check before reading the rest.
                alive = worker.is_alive()
                while line := file.readline():
                    yield Outcome(**json.loads(line))
                    left.pop(0)
        if left:
            yield Outcome(left.pop(0).name, f"the process died with {worker.exitcode}")


def _work(numbers: Sequence[int], folder: Path, results: Path) -> None:
    _compose_once()
    os.environ[_VARIABLE] = SECRET
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _ring)
    resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + _MOST, resource.RLIM_INFINITY))
    for case in (CASES[number] for number in numbers):
        outcome = attempt(case, World(folder / "world"), folder / "case")
        line = json.dumps(asdict(outcome)) + "\n"
        with results.open("ab", buffering=0) as file:
            file.write(line.encode())


def attempt(case: Case, world: World, folder: Path) -> Outcome:
    """Write the hostile file in ``folder``, run the command, and classify its outcome."""
    home = folder / "home"
    shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(parents=True)
    case.entrance.fill(world, home)
    bad, good = home / case.entrance.file, folder / "good"
    bad.rename(good)
    case.kind.make(good, bad)
    command = case.entrance.command(world, home)
    before, start = _everything(folder), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")
    resident = _status("VmRSS")
    faulthandler.dump_traceback_later(2 * _WAIT, exit=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(_WAIT)
    try:
        ended = call(command)
        code, output, lines = ended.code, ended.out + ended.err, ended.err.splitlines()
    except Hangs:
        return Outcome(case.name, "hangs", seconds=time.monotonic() - start)
    except BaseException as error:
        return Outcome(case.name, f"traceback: {type(error).__name__}", str(error)[:300], time.monotonic() - start)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        # A command in its own process would keep its log open to the end.
        run_log.__init__()  # type: ignore[misc]
        faulthandler.cancel_dump_traceback_later()
    taken = _status("VmHWM") - resident
    after = _everything(folder)
    line = lines[0].removeprefix("error: ") if lines else ""
    if "Traceback" in output:
        ended_as, line = "traceback", output[-300:]
    elif taken > MEMORY:
        ended_as = "uses too much memory"
    elif SECRET in output or any(SECRET in text for text in _texts(home)):
        ended_as = "reads the environment"
    elif _evil(folder):
        ended_as = "writes outside of its folders"
    elif code == 0:
        free = case.kind.harmless or case.entrance.is_optional or case.kind.tag in case.entrance.ignored
        ended_as = "work done" if free else "is accepted"
    elif len(lines) != 1 or not lines[0].startswith("error: ") or not line.isprintable():
        ended_as, line = f"{len(lines)} lines", "\n".join(lines)[:300]
    elif len(line) > 1000:
        ended_as, line = "a line of more than 1,000 characters", line[:300]
    elif before != after and not case.entrance.is_optional:
        ended_as, line = "changes files", f"{sorted(set(before.items()) ^ set(after.items()))[:3]} {line}"
    else:
        ended_as = "one line"
    return Outcome(case.name, ended_as, line, round(time.monotonic() - start, 2), round(taken / 1e6, 1))


def _compose_once() -> None:
    """Save time: compose the configuration of each command line once; it does not depend on the hostile file."""
    # Hydra composes a second time only to find out whether this is a sweep.
    Hydra.get_mode = lambda *_, **__: RunMode.RUN  # type: ignore[method-assign]
    load, known = ConfigLoaderImpl.load_configuration, dict[str, DictConfig]()

    def once(loader: ConfigLoaderImpl, *arguments: Any, **settings: Any) -> DictConfig:
        key = repr((arguments, settings))
        if key not in known:
            known[key] = load(loader, *arguments, **settings)
        return copy.deepcopy(known[key])

    ConfigLoaderImpl.load_configuration = once  # type: ignore[method-assign]


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hangs


def _status(key: str) -> int:
    """Return memory of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) << 10


def _everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, size and time of every file in ``folder``, without caches, which any command may write."""
    found = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _CACHES]
        for name in files:
            # The lock file of a used folder remains.
            if name == ".lock":
                continue
            status = (Path(root) / name).lstat()
            found[str(Path(root) / name)] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


def _texts(home: Path) -> Iterator[str]:
    for path in home.rglob("*"):
        if (
            path.suffix in (".json", ".jsonl", ".yaml", ".log", ".csv")
            and path.is_file()
            and path.stat().st_size < 1 << 20
        ):
            yield path.read_text(errors="replace")


def _evil(folder: Path) -> list[Path]:
    places = (ROOT, folder, folder / "home", folder.parent, Path("/tmp"))  # places that the hostile paths point to
    return [path for place in places for path in place.glob("evil*")]
