"""Which checkpoints, with which weights, are evaluated."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ...checkpoint import find_checkpoint, restore_model
from ...checkpoint.averages.posthoc import check_reconstructible, reconstruct
from ...checkpoint.find import find_at_multiples, run_of
from ...checkpoint.read import checked, peek_checkpoint
from ...checkpoint.weights import parse_weights
from ...cli.setting_types import listed
from ...errors import UserError
from ...interop.checkpoints import open_checkpoint
from ...sde import ScoreModel
from ..checkpoint_file import open_unchanged

_log = logging.getLogger(__name__)
_BUILT = "posthoc"


@dataclass(frozen=True)
class Subject:
    """A checkpoint with one choice of weights.

    Attributes:
        path: the checkpoint file.
        digest: SHA-256 of the file.
        step: number of optimizer steps.
        weights: ``ema``, ``ema:<name>`` or ``raw``; with ``ema_length`` only a label.
        config: the configuration inside it.
        label: text that differs between subjects.
        ema_length: sigma_rel of an average to be built; None for a stored average.
        trained_as: the experiment that supplies the configuration of a checkpoint without one.
    """

    path: Path
    digest: str
    step: int
    weights: str
    config: Mapping[str, Any]
    label: str
    ema_length: float | None = None
    trained_as: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies the subject, wherever the file is stored."""
        supplied = {} if self.trained_as is None else {"trained_as": self.trained_as}
        return {"checkpoint": self.digest, "weights": self.weights, **supplied}

    def model(self) -> tuple[ScoreModel, list[str]]:
        """Build the model on the CPU; also return notes on its weights.

        Raises:
            UserError: there are no such weights, or the file's hash is not ``digest``.
        """
        checkpoint = open_unchanged(self.path, self.digest, self.trained_as)
        if self.ema_length is None:
            return restore_model(checkpoint, self.weights), []
        built = reconstruct(self.path, checkpoint, self.ema_length)
        checkpoint["ema"] = {_BUILT: built.weights}
        note = (
            f"{self.label}: average of length {self.ema_length:g} built from {built.snapshots} snapshots, "
            f"its profile is off by {built.error:.2%}"
        )
        _log.info("%s", note)
        return restore_model(checkpoint, f"ema:{_BUILT}"), [note]


def find_checkpoints(cfg: DictConfig) -> list[Path]:
    """Find the files that ``ckpt_path`` and ``every`` name; raise UserError if there are none."""
    specs = listed(cfg.ckpt_path)
    if cfg.every is not None:
        paths = [path for spec in specs for path in find_at_multiples(spec, cfg.every, cfg.paths.log_dir, cfg.name)]
    else:
        paths = [find_checkpoint(spec, cfg.paths.log_dir, cfg.name) for spec in specs]
    return list(dict.fromkeys(paths))


def subjects(
    paths: Sequence[Path], digests: Sequence[str], weights: Any, ema_length: Any, trained_as: str | None = None
) -> list[Subject]:
    """Return every checkpoint with every choice of weights.

    Args:
        paths: the checkpoint files.
        digests: SHA-256 of each.
        weights: one choice of weights or several.
        ema_length: None, one length or several; used in place of ``weights``.
        trained_as: the experiment that supplies the configuration of other programs' checkpoints.

    Raises:
        UserError: a file cannot be read, or has no such weights.
    """
    choices: list[tuple[str, float | None]] = (
        [(str(choice), None) for choice in listed(weights)]
        if ema_length is None
        else [(f"ema_length={length:g}", length) for length in map(_length, listed(ema_length))]
    )
    contents = [_content(path, trained_as) for path in paths]
    names = _names(paths, contents)
    found = []
    for path, digest, content, name in zip(paths, digests, contents, names, strict=True):
        for choice, length in choices:
            _check_weights(path, content, choice, length)
            label = name if len(choices) == 1 else f"{name} {choice}"
            supplied = trained_as if "foreign" in content else None
            step = int(content["global_step"])
            found.append(Subject(path, digest, step, choice, content["config"], label, length, supplied))
    return found


def _content(path: Path, trained_as: str | None) -> Mapping[str, Any]:
    """Open a checkpoint; tensors of this project's own checkpoints are memory-mapped."""
    if path.suffix == ".ckpt":
        content = peek_checkpoint(path)
        if isinstance(content.get("config"), Mapping) and isinstance(content.get("global_step"), int):
            return checked(dict(content), path)
    return open_checkpoint(path, trained_as)


def _check_weights(path: Path, content: Mapping[str, Any], choice: str, length: float | None) -> None:
    if length is not None:
        check_reconstructible(path, content, length)
        return
    parse_weights(choice).average(list(content.get("ema") or {}), str(path))


def _length(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UserError(f"ema_length={value}: give a positive number, for example 0.08")
    return float(value)


def _names(paths: Sequence[Path], contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """A label from experiment and step, with the run's folder or the file name if two would be equal."""
    names = [
        f"{c.get('config', {}).get('name', p.stem)} step {c.get('global_step')}"
        for p, c in zip(paths, contents, strict=True)
    ]
    if len(set(names)) < len(names):
        names = [f"{name} ({(run_of(path) or path).name})" for name, path in zip(names, paths, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} {path.name}" for name, path in zip(names, paths, strict=True)]
    return names
