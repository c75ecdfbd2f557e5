"""Pictures of samples: grids, scatter plots of points in the plane, animations of trajectories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..io.atomic import replacing

_SMALLEST_SIDE = 64
_FRAME_MS = 100
_LAST_FRAME_MS = 2000


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Tile images on a gray background, row by row; magnify small ones without smoothing.

    Args:
        images: (N, C, H, W) uint8; see ``shown`` for C other than 1 and 3.
        columns: images in a row; None for a square.

    Returns:
        (3, H', W') uint8.
    """
    from torchvision.utils import make_grid

    images = shown(images)
    factor = max(1, _SMALLEST_SIDE // max(images.shape[-2:]))
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    columns = columns or math.ceil(math.sqrt(len(images)))
    made: Tensor = make_grid(enlarged, nrow=columns, padding=2, pad_value=128)
    return made.expand(3, -1, -1) if len(made) == 1 else made


def shown(images: Tensor) -> Tensor:
    """Return the channels of images (N, C, H, W) to show: the first three, or the first if there are two."""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1]


def scatter(points: Tensor, reach: float = 3.0, side: int = 512) -> Tensor:
    """Draw points in the plane.

    Args:
        points: (N, 2) float.
        reach: the picture shows [-reach, reach] in both directions.
        side: height and width in pixels.

    Returns:
        (3, side, side) uint8.
    """
    pixels = ((points.double() / reach + 1) / 2 * side).floor()
    inside = ((pixels >= 0) & (pixels < side)).all(dim=1)
    column, row = pixels[inside].long().unbind(dim=1)
    picture = torch.full((side, side), 255, dtype=torch.uint8)
    # Dots of three by three pixels; the second coordinate points upwards.
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            picture[(side - 1 - row + dy).clamp(0, side - 1), (column + dx).clamp(0, side - 1)] = 0
    return picture.expand(3, -1, -1)


def picture(samples: Tensor) -> Tensor | None:
    """Draw samples: a grid of uint8 images (N, C, H, W), a plot of points (N, 2); return None for other shapes."""
    if samples.ndim == 4:
        return grid(samples) if len(samples) else None
    return scatter(samples) if samples.ndim == 2 and samples.shape[1] == 2 else None


def save_picture(path: Path, image: Tensor) -> None:
    """Write a picture (3, H, W) uint8 atomically as a PNG file; raise UserError if that fails."""
    _save(path, _pil(image))


def save_film(path: Path, frames: Sequence[Tensor]) -> None:
    """Write pictures (3, H, W) uint8 as a repeating GIF that pauses at the last one."""
    first, *rest = [_pil(frame) for frame in frames]
    durations = [_FRAME_MS] * len(rest) + [_LAST_FRAME_MS]
    _save(path, first, save_all=True, append_images=rest, duration=durations, loop=0)


def _pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _save(path: Path, image: Image.Image, **options: object) -> None:
    with replacing(path) as temporary:
        image.save(temporary, format=path.suffix[1:].upper(), **options)
