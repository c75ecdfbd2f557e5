"""Folder of a run: a new folder for a new run, the same folder when it resumes."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from ..io.atomic import refusals
from ..runtime.job import torchrun_restarted

TIME_FORMAT = "%Y-%m-%d_%H-%M-%S"
ADVICE = "fix permissions, free disk space, or set paths.log_dir"

# Folders that this process has created, the innermost first.
_made: list[Path] = []
_sweeps: list[Path] = []


def register_resolvers() -> None:
    """Register the resolvers of OmegaConf: ``${run_dir:...}``, ``${sweep_dir:...}`` and ``${name_of_path:...}``."""
    # Cached: the answer contains a time and is needed many times in one process.
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("name_of_path", name_of_path, replace=True)


def name_of_path(path: str | None) -> str:
    """Return a name for runs on the data at ``path``: the name of the file or folder; ``images`` without a path."""
    stem = "" if path is None else Path(str(path)).expanduser().resolve().stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-") or "images"


def run_dir(log_dir: str, name: str | int, ckpt_path: str | int | None = None) -> str:
    """Return the folder of a run: that of the checkpoint from which it resumes, or a new ``log_dir/name/<time>``.

    A new folder is created here, before anything else is written, so that two runs never share one.

    Args:
        log_dir: folder of all runs.
        name: name of the experiment, which may look like a number.
        ckpt_path: checkpoint from which the run resumes, if any. Processes restarted by torchrun resume from their own
            run.

    Raises:
        UserError: there is no such checkpoint, or the folder cannot be created.
    """
    name = str(name)
    if ckpt_path is None and torchrun_restarted():
        ckpt_path = "last"
    if ckpt_path is not None:
        # Imports torch, which takes longer than refusing a mistyped setting.
        from ..checkpoint.find import find_checkpoint
        from ..checkpoint.restarts import NothingToResume

        try:
            folder = find_checkpoint(ckpt_path, Path(log_dir), name).parent
        except NothingToResume:
            pass
        else:
            if folder.name == "checkpoints":
                return str(folder.parent)
    if int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0) > 0:
        # Launchers that start all processes at once give each its own configuration; only rank 0 writes.
        return tempfile.gettempdir()
    return str(_claim(Path(log_dir) / name / datetime.now().strftime(TIME_FORMAT)))


def sweep_folder() -> Path | None:
    """Return the folder of the sweep that this process runs, None if there is no sweep."""
    return _sweeps[-1] if _sweeps else None


def remove_unused() -> None:
    """Remove the empty folders that this process has created."""
    while _made:
        try:
            _made.pop(0).rmdir()
        except OSError:
            # It contains a run, or belongs to other runs too.
            _made.clear()


def _claim(folder: Path) -> Path:
    """Create ``folder``, or one with a number appended if another run has it."""
    home, suffix = folder.parent, 1
    with refusals(folder, ADVICE):
        missing = [parent for parent in home.parents if not parent.exists()]
        while True:
            candidate = folder if suffix == 1 else folder.with_name(f"{folder.name}-{suffix}")
            # Here, because a refused run that started at the same time removes the folder of its name if it is empty.
            home.mkdir(parents=True, exist_ok=True)
            try:
                candidate.mkdir()
            except FileExistsError:
                suffix += 1
            except FileNotFoundError:
                continue
            else:
                _made[:] = [candidate, home, *missing]
                return candidate


def _sweep_dir(folder: str) -> str:
    # Hydra reads this only when it runs a sweep.
    _sweeps.append(Path(folder))
    return folder
