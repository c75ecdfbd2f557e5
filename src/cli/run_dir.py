"""Where a run keeps its files: a new folder for a new run, the run's own folder when it goes on."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

TIME_FORMAT = "%Y-%m-%d_%H-%M-%S"


def register_resolvers() -> None:
    """Make ``${run_dir:log_dir,name,ckpt_path}`` and ``${name_of_path:path}`` known to OmegaConf."""
    # Cached: the answer holds a time and is asked for many times in one process.
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("name_of_path", name_of_path, replace=True)


def name_of_path(path: str | None) -> str:
    """A name for runs on the data at ``path``: that of the file or folder; ``images`` for none."""
    stem = "" if path is None else Path(str(path)).expanduser().resolve().stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-") or "images"


def run_dir(log_dir: str, name: str | int, ckpt_path: str | int | None = None) -> str:
    """The folder of a run: the one of the checkpoint it goes on from, or ``log_dir/name/<time>``.

    Args:
        log_dir: folder of all runs.
        name: name of the experiment, which may look like a number.
        ckpt_path: what the run goes on from, if anything.
    """
    name = str(name)
    if ckpt_path is not None:
        from ..checkpoint.find import find_checkpoint

        folder = find_checkpoint(ckpt_path, Path(log_dir), name).parent
        if folder.name == "checkpoints":
            return str(folder.parent)
    start = datetime.now().strftime(TIME_FORMAT)
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)
    if rank > 0:
        # Launchers that start all processes at once give each its own configuration; only rank 0 writes results.
        return str(Path(log_dir) / name / ".ranks" / f"{start}-{rank}")
    folder = Path(log_dir) / name / start
    suffix = 1
    while folder.exists():
        suffix += 1
        folder = folder.with_name(f"{start}-{suffix}")
    return str(folder)
