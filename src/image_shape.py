"""Height and width from the setting ``image_size``."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import UserError


def height_and_width(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """(H, W) of ``image_size``: one number for squares, or [height, width].

    Raises:
        UserError: something else.
    """
    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise UserError(f"{name}={image_size}: give one positive number for squares, or [height, width]")
    return sides[0], sides[1]
