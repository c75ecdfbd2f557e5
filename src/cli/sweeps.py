"""Jobs of a sweep, each a fresh process.

Lightning starts the other processes of a job by running the command line again, which in a sweep would start the
sweep again, and a process group cannot be left clean for the next job. So a job of a sweep runs the script anew, with
its own overrides, its own folder and none of the sweep's environment.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig

from ..errors import Interrupted, UserError

_log = logging.getLogger(__name__)

RESULT_FILE = "result.json"

_OF_ONE_PROCESS_GROUP = (
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
)
_OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra.sweeper", "hydra/launcher", "hydra.launcher")

_failures: list[str] = []


def run_in_fresh_process(program: Sequence[str]) -> float:
    """Run the current job of a sweep; its optimised value, or NaN if it failed (the sweep goes on).

    Args:
        program: what follows ``python`` to run the command: a script, or ``-m`` and a module. A launcher for clusters
            calls this from a program of its own.

    Raises:
        Interrupted: SIGTERM came; it was handed on, and the job has ended.
        KeyboardInterrupt: so did Ctrl-C, which reaches the job by itself.
    """
    config = HydraConfig.get()
    folder = Path(config.runtime.output_dir)
    # Hydra's own settings of the command line (a log level, say) hold for the job, those of the sweep do not.
    settings = [o for o in config.overrides.hydra if not o.lstrip("+~").startswith(_OF_THE_SWEEP)]
    command = [sys.executable, *program, *config.overrides.task, *settings, f"hydra.run.dir='{folder}'"]
    environment = {key: value for key, value in os.environ.items() if key not in _OF_ONE_PROCESS_GROUP}
    code, stopped = _run(command, environment)
    if stopped:
        raise Interrupted(f"the sweep was stopped with its job in {folder}; jobs after it were not begun", stopped)
    result = folder / RESULT_FILE
    if code != 0 or not result.exists():
        _failures.append(str(folder))
        _log.error("the job in %s failed with exit code %d; the sweep goes on", folder, code)
        return math.nan
    value = json.loads(result.read_text())["value"]
    return math.nan if value is None else float(value)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Run ``command`` to its end, whatever comes: a job that is told to stop first writes what it has.

    Returns:
        Its exit code, and the signal that was handed on to it, 0 for none.
    """
    process: subprocess.Popen[bytes] | None = None
    stopped = 0

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = number
        if process is not None:
            process.send_signal(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, hand_on) if in_main_thread else None
    interrupted = False
    try:
        process = subprocess.Popen(command, env=environment)
        if stopped:
            process.send_signal(stopped)
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                # The terminal sends it to the job too.
                interrupted = True
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode, stopped


def report_failures() -> None:
    """UserError if a job of the sweep of this process failed."""
    if _failures:
        raise UserError(f"{len(_failures)} job(s) of the sweep failed: {', '.join(_failures)}")
