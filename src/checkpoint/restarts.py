"""Identify the cluster job, or the launch of torchrun, that a run belongs to.

Two requeued jobs of one experiment write into the same folder of runs, and each must resume its own run. A run
therefore stores the identities of its jobs in ``.jobs.json``.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..errors import UserError
from ..io.atomic import write_json
from ..io.untrusted import read_json

_FILE = ".jobs.json"


class NothingToResume(UserError):
    """Raised if this job was started before and ended before its first checkpoint."""


def this_job() -> str | None:
    """Return the identity of this job, equal for every restart; None outside of SLURM and torchrun."""
    variables = os.environ
    if array := variables.get("SLURM_ARRAY_JOB_ID"):
        return f"slurm {array}_{variables.get('SLURM_ARRAY_TASK_ID')}"
    if job := variables.get("SLURM_JOB_ID"):
        return f"slurm {job}"
    if run := variables.get("TORCHELASTIC_RUN_ID"):
        # Launches without an id share a default; only the process ids of their agents differ.
        return f"torchrun {run}" if run != "none" else f"torchrun on {socket.gethostname()}, process {os.getppid()}"
    return None


def is_restart() -> bool:
    """Return whether this job, or the processes of this torchrun, were started before."""
    return torchrun_restarted() or int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


def torchrun_restarted() -> bool:
    """Return whether torchrun restarted these processes after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def note_job(run_dir: Path) -> None:
    """Record in ``run_dir``, whose lock this process holds, that this job works on it."""
    job = this_job()
    if job is not None and job not in (jobs := _jobs(run_dir)):
        write_json(run_dir / _FILE, [*jobs, job])


def made_by_this_job(run_dir: Path) -> bool:
    """Return whether this job has worked on the run in ``run_dir``."""
    return this_job() in _jobs(run_dir)


def _jobs(run_dir: Path) -> list[str]:
    try:
        found = read_json(run_dir / _FILE)
    except ValueError:
        return []
    return [job for job in found if isinstance(job, str)] if isinstance(found, list) else []
