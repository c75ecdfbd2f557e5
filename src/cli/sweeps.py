"""Jobs of a sweep, each in a new process, and a table of their results.

Lightning starts the other processes of a job by running the command line again, which in a sweep would start the sweep
again. A process group can also not be cleaned up for the next job. So each job of a sweep runs the script again, with
its own overrides and folder, and without the environment of the sweep.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ..errors import Interrupted, UserError
from ..io.atomic import write_json, write_text
from ..io.untrusted import read_json
from ..progress import duration
from ..runtime.job import is_restart
from . import run_dir

_log = logging.getLogger(__name__)

RESULT_FILE = "result.json"
JOB_FILE = "job.json"
TABLE_FILE = "sweep.csv"

_ALWAYS = ("job", "result", "ended", "time")

_PROCESS_GROUP_VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "SCORE_SDE_VERIFIED",
)
_SWEEP_SETTINGS = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra.sweeper", "hydra/launcher", "hydra.launcher")
# Ctrl-C reaches the job by itself.
_FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run_in_fresh_process(program: Sequence[str]) -> float | None:
    """Run the current job of a sweep in a new process.

    A job that a cluster restarts resumes from its own folder.

    Args:
        program: what follows ``python`` to run the command: a script, or ``-m`` and a module. A launcher for clusters
            calls this from a program of its own.

    Returns:
        The optimized value; None if the job failed or has none. A sweep continues; a search counts the trial as failed.

    Raises:
        Interrupted: a signal came; it was handed on, and the job has ended.
        KeyboardInterrupt: so did Ctrl-C.
    """
    config = HydraConfig.get()
    folder = Path(config.runtime.output_dir)
    # Hydra settings of the command line (such as a log level) apply to the job, those of the sweep do not.
    settings = [o for o in config.overrides.hydra if not o.lstrip("+~").startswith(_SWEEP_SETTINGS)]
    overrides = list(config.overrides.task)
    if is_restart() and any((folder / "checkpoints").glob("*.ckpt")):
        settings.append(f"ckpt_path='{folder}'")
        overrides = [o for o in overrides if o.lstrip("+").partition("=")[0] not in ("ckpt_path", "init_from")]
    command = [sys.executable, *program, *overrides, *settings, f"hydra.run.dir='{folder}'"]
    environment = {key: value for key, value in os.environ.items() if key not in _PROCESS_GROUP_VARIABLES}
    start = time.monotonic()
    code, stopped = _run(command, environment)
    about = {"overrides": overrides, "exit_code": code, "seconds": round(time.monotonic() - start, 1)}
    write_json(folder / JOB_FILE, about)
    if stopped:
        raise Interrupted(f"the sweep was stopped with its job in {folder}; jobs after it were not started", stopped)
    if code != 0:
        _log.error("the job in %s failed with exit code %d; the sweep continues", folder, code)
        return None
    value = _result(folder).get("value")
    return None if value is None else float(value)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Run ``command`` to its end; a job that is told to stop first writes its checkpoint.

    Returns:
        Its exit code, and the signal that was handed on to it, 0 for none.
    """
    process: subprocess.Popen[bytes] | None = None
    stopped = 0
    at: FrameType | None = None

    def forward_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopped, at
        stopped, at = number, frame
        if process is not None:
            process.send_signal(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, forward_signal) for number in _FORWARDED_SIGNALS if in_main_thread}
    interrupted = False
    try:
        process = subprocess.Popen(command, env=environment)
        if stopped:
            process.send_signal(stopped)
        while process.returncode is None:
            try:
                process.wait()
            except BaseException as error:
                # On Ctrl-C, the terminal sends the signal to the job too.
                if isinstance(error, Exception):
                    raise
                interrupted = True
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    if stopped == signal.SIGUSR2 and callable(handler := previous[signal.SIGUSR2]):
        # submitit requeues the job, now that its checkpoint is written.
        handler(stopped, at)
    return process.returncode, stopped


@contextmanager
def reported() -> Iterator[None]:
    """Wrap a command: after a sweep, print and save a table of its jobs.

    Raises:
        UserError: at the end, if a job failed.
    """
    try:
        yield
    except Exception:
        # A search in which every trial failed ends with its own error.
        failed = _report()
        if not failed:
            raise
        raise _failure(failed) from None
    if failed := _report():
        raise _failure(failed)


def _failure(failed: Sequence[Path]) -> UserError:
    return UserError(f"{len(failed)} job(s) of the sweep failed: {', '.join(map(str, failed))}")


def _report() -> list[Path]:
    """Print and save the table of this process's sweep, if there is one; return the folders of failed jobs."""
    folder = run_dir.sweep_folder()
    if folder is None or not folder.is_dir():
        return []
    jobs = sorted((path.parent for path in folder.glob(f"*/{JOB_FILE}")), key=_number)
    if not jobs:
        return []
    rows = [_row(job) for job in jobs]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TABLE_FILE, text.getvalue())
    _print(rows, columns, str(folder))
    return [job for job in jobs if _read(job / JOB_FILE).get("exit_code") != 0]


def _row(job: Path) -> dict[str, str]:
    """A job: its number, overrides, result, outcome and duration."""
    about, result = _read(job / JOB_FILE), _result(job)
    settings = dict(override.lstrip("+").partition("=")[::2] for override in about.get("overrides", []))
    value = result.get("value")
    code = about.get("exit_code")
    return {
        "job": job.name,
        **settings,
        "result": "" if value is None else f"{result.get('optimized_metric')} {value:.6g}",
        "ended": "finished" if code == 0 else f"failed ({code})",
        "time": duration(about.get("seconds", 0)),
    }


def _print(rows: Sequence[Mapping[str, str]], columns: Sequence[str], title: str) -> None:
    """Format the table; settings that all jobs share are omitted."""
    from rich.console import Console
    from rich.table import Table

    shown = [c for c in columns if c in _ALWAYS or len({row.get(c, "") for row in rows}) > 1]
    table = Table(title=title)
    for column in shown:
        table.add_column(column)
    for row in rows:
        table.add_row(*(row.get(column, "") for column in shown))
    Console().print(table)


def _number(job: Path) -> tuple[int, str]:
    return (int(job.name), "") if job.name.isdecimal() else (sys.maxsize, job.name)


def _result(job: Path) -> dict[str, Any]:
    return _read(job / RESULT_FILE)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
