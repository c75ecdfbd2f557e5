"""Which pixels of an image are known: 1 known, 0 unknown.

A mask is a function of the shape (C, H, W) of an image, so that a configuration can specify it before images are
loaded. All images of a run share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...noise import uniform
from ...outside import read_bytes
from ...pictures import MAX_FILE, open_picture

SIDES = ("left", "right", "top", "bottom")


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
            ``random:<fraction>`` (random pixels are known), or the path of a picture that is white where pixels are
            known.
        shape: (*d).

    Raises:
        UserError: the picture does not exist or does not fit.
    """
    if isinstance(mask, Tensor):
        return mask
    if isinstance(mask, str):
        return _named(mask)(shape)
    return mask(shape) if isinstance(mask, Mask) else torch.tensor(list(mask))


def _named(name: str) -> Mask:
    if name in SIDES:
        return HalfMask(name)
    kind, _, fraction = name.partition(":")
    if kind not in ("box", "random"):
        return FileMask(name)
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
        height, width = _size(shape)
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
        height, width = _size(shape)
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
        return uniform(self.seed, "mask", 0, torch.zeros(1, dtype=torch.int64), _size(shape)) < self.fraction


class FileMask:
    """A picture as a mask: pixels of at least half brightness are known.

    Args:
        path: a PNG of the size of the images.

    Raises:
        UserError: when called, if the picture does not exist or has another size.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        names = ", ".join(("box", *SIDES, "random"))
        content = read_bytes(self.path, f"give the mask as a PNG, or one of {names}", MAX_FILE)
        try:
            values = open_picture(content).pixels(channels=1)[0]
        # A decoder may raise any exception on damaged files.
        except Exception as error:
            raise UserError(f"{self.path} is not a picture ({error}): give the mask as a PNG") from error
        if values.shape != _size(shape):
            raise UserError(f"the mask {self.path} is {values.shape[::-1]} (width, height), the images {shape[:0:-1]}")
        white = 1.0 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        return torch.from_numpy(values > white / 2)[None]


def _inside(fraction: float) -> float:
    if not 0 < fraction < 1:
        raise UserError(f"mask fraction is {fraction}: it must lie between 0 and 1")
    return fraction


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 3:
        raise UserError(f"masks are for images (C, H, W), the data have shape {shape}: give the mask as a tensor")
    return shape[1], shape[2]
