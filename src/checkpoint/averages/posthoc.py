"""Build averages of any length after training, from snapshots of two averages (see ``power_profile``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import UserError
from ...io.safetensors import write_safetensors
from ..find import FOLDER as CHECKPOINTS
from ..read import peek_checkpoint
from .power_profile import fit_profile, gamma_of

FOLDER = "ema_snapshots"
"""Folder of the snapshots inside a run folder."""


@dataclass(frozen=True)
class Reconstruction:
    """An average built after training.

    Attributes:
        weights: float32 by the names of the net's parameters.
        error: distance of its profile from the requested one, relative to the size of the requested one.
        snapshots: averages it was built from.
    """

    weights: dict[str, Tensor]
    error: float
    snapshots: int


@dataclass(frozen=True)
class _Source:
    """One average at one time; ``tensor(name)`` reads a parameter."""

    sigma_rel: float
    updates: int
    where: str
    tensor: Callable[[str], Tensor]


def write_snapshot(
    path: Path, averages: Mapping[str, Mapping[str, Tensor]], sigma_rel: Mapping[str, float], updates: int
) -> None:
    """Write averages to a safetensors file, completely or not at all.

    Args:
        path: file to write.
        averages: parameters of each average, by its name.
        sigma_rel: length of each.
        updates: number of updates in each average.

    Raises:
        UserError: the file cannot be written.
    """
    tensors = {f"{name}/{key}": value.contiguous() for name, named in averages.items() for key, value in named.items()}
    about = {"updates": str(updates), "sigma_rel": json.dumps(dict(sigma_rel))}
    write_safetensors(path, tensors, about, advice="free disk space, then resume with ckpt_path=last")


def reconstruct(path: Path, checkpoint: Mapping[str, Any], sigma_rel: float) -> Reconstruction:
    """Return the average of length ``sigma_rel`` at the step of a checkpoint.

    It is built from the averages of the checkpoint, of earlier checkpoints in the folder, and of the run's snapshots.

    Args:
        path: file of the checkpoint; its folder identifies the run.
        checkpoint: its content.
        sigma_rel: see ``power_profile``.

    Raises:
        UserError: the length is out of range, the run has no power-function averages, or a snapshot is damaged.
    """
    gamma = gamma_of(sigma_rel)
    now = _updates(checkpoint)
    with ExitStack() as opened:
        sources = _distinct(s for s in _sources(path, checkpoint, opened) if s.updates <= now)
        if not sources:
            raise UserError(
                f"ema_length={sigma_rel}, but {path} was trained without power-function averages: "
                "train with ema=posthoc, or choose weights=ema"
            )
        weights, error = fit_profile([gamma_of(s.sigma_rel) for s in sources], [s.updates for s in sources], gamma, now)
        names = next(iter(checkpoint["ema"].values()))
        mixed = {name: _mix(sources, weights, name, like) for name, like in names.items()}
    return Reconstruction(mixed, error, len(sources))


def check_reconstructible(path: Path, checkpoint: Mapping[str, Any], sigma_rel: float) -> None:
    """Raise UserError for everything in ``reconstruct`` that can fail without reading weights."""
    gamma_of(sigma_rel)
    if not _lengths(checkpoint):
        raise UserError(
            f"ema_length={sigma_rel}, but {path} was trained without power-function averages: "
            "train with ema=posthoc, or choose weights=ema"
        )


def _mix(sources: list[_Source], weights: list[float], name: str, like: Tensor) -> Tensor:
    total = torch.zeros(like.shape, dtype=torch.float64)
    for source, weight in zip(sources, weights, strict=True):
        value = source.tensor(name)
        if value.shape != like.shape:
            raise UserError(f"{source.where} does not fit this net ({name} has {tuple(value.shape)}): remove it")
        total.add_(value.double(), alpha=weight)
    return total.float()


def _distinct(sources: Iterator[_Source]) -> list[_Source]:
    """Return one average of each length and step; full-precision averages, which come first, are preferred."""
    found: dict[tuple[float, int], _Source] = {}
    for source in sources:
        found.setdefault((source.sigma_rel, source.updates), source)
    return list(found.values())


def _sources(path: Path, checkpoint: Mapping[str, Any], opened: ExitStack) -> Iterator[_Source]:
    yield from _of_checkpoint(path, checkpoint)
    folder = path.parent
    for other in sorted(folder.glob("*.ckpt")):
        if other == path:
            continue
        try:
            content = peek_checkpoint(other)
        except UserError:
            # A resumed run removes a checkpoint once a newer one is complete.
            if other.exists():
                raise
            continue
        yield from _of_checkpoint(other, content)
    run = folder.parent if folder.name == CHECKPOINTS else folder
    for file in sorted((run / FOLDER).glob("*.safetensors")):
        yield from _of_snapshot(file, opened)


def _of_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> Iterator[_Source]:
    for name, sigma_rel in _lengths(checkpoint).items():
        yield _Source(sigma_rel, _updates(checkpoint), str(path), _reader(checkpoint["ema"][name].get, "", path))


def _of_snapshot(path: Path, opened: ExitStack) -> Iterator[_Source]:
    try:
        file = opened.enter_context(safe_open(path, "pt"))
        about = file.metadata()
        lengths, updates = json.loads(about["sigma_rel"]), int(about["updates"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it") from error
    for name, sigma_rel in lengths.items():
        yield _Source(sigma_rel, updates, str(path), _reader(file.get_tensor, f"{name}/", path))


def _reader(read: Callable[[str], Tensor | None], prefix: str, path: Path) -> Callable[[str], Tensor]:
    def tensor(name: str) -> Tensor:
        try:
            value = read(prefix + name)
        except SafetensorError:
            value = None
        if value is None:
            raise UserError(f"{path} does not fit this net (it lacks {name}): remove it")
        return value

    return tensor


def _lengths(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """sigma_rel of the power-function averages of a checkpoint, by name."""
    described = (checkpoint.get("config") or {}).get("ema") or {}
    kept = checkpoint.get("ema") or {}
    return {
        name: float(node["sigma_rel"])
        for name, node in described.items()
        if name in kept and isinstance(node, Mapping) and "sigma_rel" in node
    }


def _updates(checkpoint: Mapping[str, Any]) -> int:
    """Number of updates of the averages: optimizer steps minus skipped steps."""
    callbacks = checkpoint.get("callbacks") or {}
    return int((callbacks.get("EMA") or {}).get("updates", checkpoint["global_step"]))
