"""Arguments of the Python API: converted to tensors, or refused with one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ..config.annotations import shortened
from ..config.build import nearest
from ..config.location import CONFIG_DIR
from ..errors import UserError

Labels = int | Sequence[int] | Tensor | None
Time = float | Tensor


def as_tensor(name: str, value: Any, device: torch.device | None) -> Tensor:
    """Return ``value`` as a tensor on ``device``; raise UserError if it holds no numbers."""
    try:
        found: Tensor = torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name}={shortened(value)}: give a tensor of numbers") from error
    return found


def states(x: Any, shape: tuple[int, ...], data_range: str, device: torch.device) -> Tensor:
    """Return states (B, *shape) on ``device``; raise UserError for another shape or for integers."""
    found = as_tensor("x", x, device)
    if tuple(found.shape[1:]) != shape:
        wanted = ", ".join(["B", *map(str, shape)])
        raise UserError(f"states of shape {tuple(found.shape)} do not fit this model: give ({wanted})")
    check_floats(found, data_range)
    return found


def check_floats(x: Tensor, data_range: str) -> None:
    """Raise UserError for integers: their range is not that of the model."""
    if not x.is_floating_point():
        ends = "[0, 1]" if data_range == "unit" else "[-1, 1]"
        raise UserError(f"values of type {x.dtype}: give floats, images in {ends}")


def times(t: Any, count: int, end: float) -> Tensor:
    """Return times () or (B,) in (0, end] for ``count`` samples; raise UserError for others."""
    # A Python number stays on the CPU and enters kernels as an argument.
    found = t if isinstance(t, Tensor) else as_tensor("t", t, None).double()
    if found.shape not in ((), (count,)):
        raise UserError(f"t of shape {tuple(found.shape)}: give one time, or one for each of {count} samples")
    # Reading a value from a GPU would wait for it.
    if found.device.type == "cpu" and not bool(((found > 0) & (found <= end)).all()):
        raise UserError(f"t={t}: give times in (0, {end:g}]")
    return found


def condition(labels: Labels, count: int, classes: int, device: torch.device) -> Mapping[str, Tensor] | None:
    """Return the condition of ``count`` samples with these labels; raise UserError for labels that the net lacks."""
    if labels is None:
        return None
    try:
        chosen = torch.as_tensor(labels, dtype=torch.int64, device=device).expand(count)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"labels={labels}: give a class, or one for each of {count} samples, as numbers") from error
    # The class after the last one means "no label".
    if not classes or chosen.min() < 0 or chosen.max() > classes:
        known = f"the net has the classes 0 to {classes - 1}" if classes else "the net has no classes: leave it out"
        raise UserError(f"labels={labels}: {known}")
    return {"labels": chosen}


def from_conf(group: str, name: str) -> Any:
    """Return the file ``name`` of a folder of ``conf``; raise UserError if it does not exist."""
    names = sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))
    if name not in names:
        raise UserError(f"there is no {group} {name}{nearest(str(name), names)}; choose one of {', '.join(names)}")
    return OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml")
