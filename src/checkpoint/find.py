"""Find the file that ``ckpt_path`` names: a file, a run folder, ``last``, ``best`` or a step.

Runs are stored in ``<runs_dir>/<experiment name>/<time>/``, or deeper for the jobs of a sweep, with their files in
``checkpoints/``. Runs are ordered by the time in their path and checkpoints by their optimizer step. File times are
ignored, because copying changes them.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.build import nearest
from ..errors import UserError, some
from ..io.step_names import step_of
from ..runtime.job import is_restart
from .read import global_step, pin
from .restarts import NothingToResume, made_by_this_job

_log = logging.getLogger(__name__)

FOLDER = "checkpoints"
"""Folder of the checkpoints inside a run folder."""

HUB_WEIGHTS, HUB_CONFIG = "model.safetensors", "config.json"
"""Files of a folder in the format of the Hugging Face Hub; together they act as a checkpoint."""

SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"
"""Folders of the models that come with this package, in the same format."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LOOKS, _PAUSE = 50, 0.02


@dataclass(frozen=True)
class _Candidate:
    path: Path
    step: int


def find_checkpoint(spec: str | int | Path, runs_dir: str | Path, name: str | None = None) -> Path:
    """Return the path of the checkpoint that ``spec`` names.

    Checkpoints that are found by name are verified. Their content stays readable for this process under the returned
    path, even if a running training removes the file.

    Args:
        spec: one of
            a file, returned as it is;
            a run folder: its newest intact checkpoint;
            a folder in the format of the Hugging Face Hub: its weights;
            the name of a model that comes with this package, unless a file or folder here has that name;
            ``last``: in a job of a cluster that was started before, the newest intact checkpoint of the run that this
            job made; otherwise of the newest run, of an older one if that has none; a best one only where there is no
            other;
            a step: that step of the newest run;
            ``best``, or ``best_<metric>`` where a run keeps several: that file of the newest run.
        runs_dir: folder of all runs.
        name: experiment whose runs count; None for all.

    Raises:
        NothingToResume: ``last`` in a restarted job that has not written a checkpoint yet.
        UserError: there is no such checkpoint; the message lists the existing runs.
    """
    text = str(spec)
    if not text:
        raise UserError("the name of the checkpoint is empty: give a file, a run folder, `last`, `best`, or a step")
    path, by_run = Path(text).expanduser(), _names_a_checkpoint_of_a_run(text)
    if not by_run and path.is_file():
        return path
    if not by_run and not path.exists() and text in shipped_models():
        path = SHIPPED / text
    if not by_run and not path.is_dir():
        raise UserError(
            f"{text} is neither a file nor a folder{nearest(text, ('last', 'best'))}: give one, or `last`, "
            f"`best`, or a step; {_overview(Path(runs_dir))}; models of this package: {some(shipped_models())}"
        )
    if not by_run and (path / HUB_WEIGHTS).is_file():
        if not (path / HUB_CONFIG).is_file():
            raise UserError(f"{path} has {HUB_WEIGHTS} but no {HUB_CONFIG}: copy the whole folder")
        return path / HUB_WEIGHTS
    if by_run and Path(runs_dir).is_file():
        raise UserError(f"{runs_dir} is a file, not a folder of runs: give the folder, or a checkpoint")
    home = path if not by_run else Path(runs_dir, name or "")
    runs = _runs(home)
    if text == "last":
        runs = _of_this_job(runs)
    if not runs:
        raise UserError(f"no checkpoint in {home}: train first, or give a file; {_overview(Path(runs_dir))}")
    if text.isdecimal():
        return _at_step(int(text), runs[0])
    if by_run and text != "last":
        return _best(text, runs[0])
    return _newest_intact(runs)


def can_be_found(spec: str) -> bool:
    """Return whether ``spec`` is an existing path, a model of this package, ``last``, ``best`` or a step."""
    exists = bool(spec) and Path(spec).expanduser().exists()
    return exists or spec in shipped_models() or _names_a_checkpoint_of_a_run(spec)


def _names_a_checkpoint_of_a_run(text: str) -> bool:
    return text == "last" or text.isdecimal() or re.fullmatch(r"best[\w-]*", text) is not None


def shipped_models() -> list[str]:
    """Return the names of the models that come with this package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{HUB_WEIGHTS}"))


def find_at_multiples(spec: str | Path, every: int, runs_dir: str | Path, name: str | None = None) -> list[Path]:
    """Return the intact checkpoints of a run at multiples of ``every`` steps, by step.

    Args:
        spec: a run folder, or ``last`` for the newest run.
        every: optimizer steps.
        runs_dir: folder of all runs.
        name: experiment whose runs count; None for all.

    Raises:
        UserError: there is no such run or no such checkpoint.
    """
    text = str(spec)
    home = Path(runs_dir, name or "") if text == "last" else Path(text).expanduser()
    if every < 1:
        raise UserError(f"every={every}: give a number of steps")
    if not home.is_dir():
        raise UserError(f"every={every} needs a run, but {text} is not a folder: give a run folder, or `last`")
    runs = _runs(home)
    candidates = _candidates(runs[0]) if runs else []
    by_step: dict[int, Path] = {}
    for candidate in candidates:
        if candidate.step >= 0 and candidate.step % every == 0 and candidate.step not in by_step:
            if _is_intact(candidate.path):
                by_step[candidate.step] = candidate.path
            else:
                _log.warning("damaged and skipped: %s", candidate.path)
    if not by_step:
        steps = some(sorted({candidate.step for candidate in candidates}))
        raise UserError(
            f"no checkpoint at a multiple of {every} steps in {runs[0] if runs else home}: there are {steps}"
        )
    return [by_step[step] for step in sorted(by_step)]


def find_runs(spec: str | Path) -> list[Path]:
    """Return the newest intact checkpoint of every run in a folder, the oldest run first; a file is returned as it is.

    Raises:
        UserError: there is no such folder, or no checkpoint in it.
    """
    home = Path(spec).expanduser()
    if home.is_file():
        return [home]
    if not home.is_dir():
        raise UserError(f"{spec} is neither a checkpoint nor a folder of runs: give one, for example logs/digits")
    runs = _runs(home)
    if not runs:
        raise UserError(f"there is no checkpoint in {spec}: give the folder of a run, of a sweep, or of several runs")
    return [_newest_intact([run]) for run in reversed(runs)]


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that contains a checkpoint, None if the checkpoint is stored elsewhere."""
    return checkpoint.parent.parent if checkpoint.parent.name == FOLDER else None


def _of_this_job(runs: list[Path]) -> list[Path]:
    """Return the runs that this cluster job made, if there are any; all ``runs`` if the job was not started before."""
    own = [run for run in runs if made_by_this_job(run)]
    if not own and is_restart():
        raise NothingToResume("this job was started before, but has written no checkpoint: it starts again from step 0")
    return own or runs


def _newest_intact(runs: Sequence[Path]) -> Path:
    damaged: dict[Path, None] = {}
    for run in runs:
        looks = 0
        while candidates := [candidate for candidate in _candidates(run) if candidate.path not in damaged]:
            path = candidates[0].path
            if _is_intact(path):
                if damaged:
                    _log.warning("damaged and skipped: %s; the newest intact one is %s", some(damaged), path)
                return path
            # A dangling link is damaged: it will be listed again and again.
            if os.path.lexists(path):
                damaged[path] = None
                continue
            # A running training removes a checkpoint once a newer one is complete.
            looks += 1
            if looks == _LOOKS:
                raise UserError(f"all checkpoints of {run} were removed while they were read: try again")
            time.sleep(_PAUSE * (looks > 1))
    if not damaged:
        raise UserError(f"all checkpoints of {runs[0]} were removed while they were read: try again")
    raise UserError(f"no intact checkpoint is left (damaged: {some(damaged)}): start a new run")


def _at_step(step: int, run: Path) -> Path:
    candidates = _candidates(run)
    matching = [candidate.path for candidate in candidates if candidate.step == step]
    if not matching:
        steps = sorted({candidate.step for candidate in candidates})
        raise UserError(f"no checkpoint of step {step} in {run}: there are {some(steps)}")
    # `last` may be a second copy of the same step.
    return next((path for path in matching if _is_intact(path)), matching[0])


def _best(stem: str, run: Path) -> Path:
    best = [candidate.path for candidate in _candidates(run) if candidate.path.stem.startswith("best")]
    exact = [path for path in best if path.stem == stem]
    if exact or (stem == "best" and len(best) == 1):
        return (exact or best)[0]
    if not best:
        raise UserError(f"{run} keeps no best checkpoint: use `last` or a step")
    names = some(sorted(path.stem for path in best))
    raise UserError(f"{run} has no single {stem} checkpoint: choose one of {names}")


def _runs(home: Path) -> list[Path]:
    """Return run folders in ``home``, or ``home`` itself, newest first, without those that have no checkpoint.

    A run that is just starting has an empty folder and must not hide the run it wants to resume.
    """
    found = [run for run in _run_folders(home) if any(_files(run))]
    return sorted(found, key=lambda run: _age(run.relative_to(home)), reverse=True)


def _run_folders(home: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(home):
        if FOLDER in subfolders or any(file.endswith(".ckpt") for file in files):
            yield Path(folder)
            subfolders.clear()
        # Folders of loggers and Hydra beside the checkpoints can be deep.
        subfolders[:] = [sub for sub in subfolders if not sub.startswith(".") and sub != "wandb"]


def _age(run: Path) -> list[tuple[int, int | str]]:
    parts = run.parts
    dated = next((i for i, part in enumerate(parts) if _DATE.match(part)), max(len(parts) - 1, 0))
    # Compare numbers as numbers: job 10 of a sweep comes after job 9.
    pieces = re.split(r"(\d+)", "/".join(parts[dated:]))
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces]


def _files(run: Path) -> Iterator[Path]:
    folder = run / FOLDER
    return (folder if folder.is_dir() else run).glob("*.ckpt")


def _candidates(run: Path) -> list[_Candidate]:
    """Return the checkpoints of a run, newest first, best ones last.

    A best checkpoint is written before the other work of its step is done; a run that resumes from an ordinary
    checkpoint repeats that work.
    """
    found = [_Candidate(path, _step(path)) for path in _files(run)]
    return sorted(
        found,
        key=lambda c: (not c.path.stem.startswith("best"), c.step, c.path.stem == "last", c.path.name),
        reverse=True,
    )


def _step(path: Path) -> int:
    # The name is reliable in files of this project, so a file that is being replaced need not be opened.
    in_name = step_of(path.name)
    if in_name is not None:
        return in_name
    try:
        return global_step(path)
    except UserError:
        # A damaged file is skipped later, but keeps its position in the order, so that the message can name it.
        return -1


def _is_intact(path: Path) -> bool:
    try:
        pin(path)
    except UserError:
        return False
    return True


def _overview(runs_dir: Path) -> str:
    runs = _runs(runs_dir)
    return f"there are the runs {some(runs)}" if runs else f"there are no runs in {runs_dir}"
