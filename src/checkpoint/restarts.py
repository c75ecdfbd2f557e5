"""Find the run that belongs to this cluster job, or to this launch of torchrun.

Two requeued jobs of one experiment write into the same folder of runs, and each must resume its own run. A run
therefore stores the identities of its jobs in ``.jobs.json``.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..io.atomic import write_json
from ..io.untrusted import read_json
from ..runtime.job import this_job

_FILE = ".jobs.json"


class NothingToResume(UserError):
    """Raised if this job was started before and ended before its first checkpoint."""


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
