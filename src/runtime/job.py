"""The cluster job, or the launch of torchrun, that this process belongs to."""

from __future__ import annotations

import os
import socket


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
