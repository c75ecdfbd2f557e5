"""Height and width from the setting ``image_size``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import UserError


def height_and_width(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """Return (H, W) of ``image_size``: one number for squares, or [height, width].

    Raises:
        UserError: something else.
    """
    sides = list(image_size) if isinstance(image_size, Sequence) else [image_size] * 2
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise UserError(f"{name}={image_size}: give one positive number for squares, or [height, width]")
    return sides[0], sides[1]


def configured_shape(datamodule: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Shape of one sample, as far as the settings of a datamodule tell it.

    Args:
        datamodule: plain containers.

    Returns:
        (C, H, W) for images, (d,) for vectors; None if the settings do not tell.

    Raises:
        UserError: ``image_size`` is neither one positive number nor two.
    """
    channels, image_size, dim = (datamodule.get(name) for name in ("channels", "image_size", "dim"))
    if channels is not None and image_size is not None:
        return channels, *height_and_width(image_size, "datamodule.image_size")
    return None if dim is None else (dim,)


def flat_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return (C, H, W) of a configured shape, which repeats ``image_size``: [C, 32, 32] or [C, [H, W], [H, W]]."""
    if len(shape) == 3 and not isinstance(shape[1], int):
        return shape[0], *height_and_width(shape[1])
    return tuple(shape)
