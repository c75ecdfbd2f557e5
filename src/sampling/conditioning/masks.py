"""Which pixels of an image are known: 1 known, 0 unknown.

A mask is a function of the shape (C, H, W) of an image, so that a configuration can specify it before images are
loaded. All images of a run share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ...errors import UserError
from ...noise import uniform

SIDES = ("left", "right", "top", "bottom")
NAMES = ("box", *SIDES, "random")


@runtime_checkable
class Mask(Protocol):
    """Makes the mask of images of a shape."""

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """A bool tensor (1, H, W), true where known, for images of shape (C, H, W)."""
        ...


AnyMask = Tensor | Mask | str | Sequence[int]
"""A tensor, a function of the shape, a name (see ``mask_for``), or a list for a vector."""


def mask_for(mask: AnyMask, shape: tuple[int, ...]) -> Tensor:
    """Return the mask of data of a shape.

    Args:
        mask: a tensor; a list for vectors; a function of the shape; or a name: ``box`` or ``box:<fraction>`` (a box in
            the middle is unknown), ``left``, ``right``, ``top``, ``bottom`` (this half is known), ``random`` or
            ``random:<fraction>`` (random pixels are known).
        shape: (*d).

    Raises:
        UserError: there is no such name, or a named mask is asked for data that are not images.
    """
    if isinstance(mask, Tensor):
        return mask
    if isinstance(mask, str):
        return _named(mask)(shape)
    return mask(shape) if isinstance(mask, Mask) else torch.tensor(list(mask))


def is_mask_name(text: str) -> bool:
    """Return whether ``mask_for`` knows the name; the part after a colon is not checked."""
    return text in SIDES or text.partition(":")[0] in ("box", "random")


def _named(name: str) -> Mask:
    if not is_mask_name(name):
        raise UserError(f"there is no mask {name}: choose one of {', '.join(NAMES)}, or give a tensor")
    if name in SIDES:
        return HalfMask(name)
    kind, _, fraction = name.partition(":")
    make = BoxMask if kind == "box" else RandomMask
    if not fraction:
        return make()
    try:
        return make(fraction=float(fraction))
    except ValueError as error:
        raise UserError(f"mask {name}: give a number between 0 and 1 after the colon") from error


class BoxMask:
    """A box in the middle is unknown.

    Args:
        fraction: length of the box's sides relative to the image's, in (0, 1).
    """

    def __init__(self, fraction: float = 0.5) -> None:
        self.fraction = _inside(fraction)

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        height, width = image_size(shape)
        box_height, box_width = round(self.fraction * height), round(self.fraction * width)
        top, left = (height - box_height) // 2, (width - box_width) // 2
        mask = torch.ones(1, height, width, dtype=torch.bool)
        mask[:, top : top + box_height, left : left + box_width] = False
        return mask


class HalfMask:
    """One half is known.

    Args:
        side: the half that is known: left, right, top or bottom.
    """

    def __init__(self, side: str = "left") -> None:
        if side not in SIDES:
            raise UserError(f"mask side is {side!r}: choose one of {', '.join(SIDES)}")
        self.side = side

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        height, width = image_size(shape)
        mask = torch.zeros(1, height, width, dtype=torch.bool)
        if self.side in ("left", "right"):
            half = mask[..., : width // 2] if self.side == "left" else mask[..., width // 2 :]
        else:
            half = mask[:, : height // 2] if self.side == "top" else mask[:, height // 2 :]
        half.fill_(True)
        return mask


class RandomMask:
    """Random pixels are known.

    Args:
        fraction: expected fraction of known pixels, in (0, 1).
        seed: seed of the mask.
    """

    def __init__(self, fraction: float = 0.25, seed: int = 0) -> None:
        self.fraction = _inside(fraction)
        self.seed = seed

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return uniform(self.seed, "mask", 0, torch.zeros(1, dtype=torch.int64), image_size(shape)) < self.fraction


def _inside(fraction: float) -> float:
    if not 0 < fraction < 1:
        raise UserError(f"mask fraction is {fraction}: it must lie between 0 and 1")
    return fraction


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (H, W) of images of shape (C, H, W); raise UserError for other data."""
    if len(shape) != 3:
        raise UserError(f"masks are for images (C, H, W), the data have shape {shape}: give the mask as a tensor")
    return shape[1], shape[2]
