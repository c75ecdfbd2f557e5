"""Resize pictures of any size to one size."""

from __future__ import annotations

import numpy as np


def fit_picture(pixels: np.ndarray, size: tuple[int, int], crop: int | None = None, pad: int = 0) -> np.ndarray:
    """Return pixels (C, H, W) of the requested height and width, in their own dtype.

    In this order: a center crop to a square of ``crop`` pixels; a border of ``pad`` zeros; resize so that the picture
    just covers ``size`` (bicubic, antialiased); a center crop to ``size``.

    Args:
        pixels: (C, H, W) uint8, uint16, float16 or float32.
        size: (height, width) of the result.
        crop: size of the first crop; None for none.
        pad: width of the border.

    Raises:
        ValueError: the picture is smaller than ``crop``.
    """
    if crop is not None:
        if min(pixels.shape[1:]) < crop:
            raise ValueError(f"{pixels.shape[2]}x{pixels.shape[1]} pixels are fewer than the crop of {crop}")
        pixels = _center(pixels, (crop, crop))
    if pad:
        pixels = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad)))
    covering = covering_size(pixels.shape[1:], size)
    if covering != pixels.shape[1:]:
        pixels = _resized(pixels, covering)
    return _center(pixels, size)


def covering_size(original: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) with the proportions of ``original`` that covers ``size``."""
    # Scaled by the side that decides, so that squares of the same size stay unchanged.
    if size[0] * original[1] >= size[1] * original[0]:
        return size[0], max(size[1], round(original[1] * size[0] / original[0]))
    return max(size[0], round(original[0] * size[1] / original[1])), size[1]


def _center(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = ((original - wanted) // 2 for original, wanted in zip(pixels.shape[1:], size, strict=True))
    return pixels[:, top : top + size[0], left : left + size[1]]


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    target = size[::-1]
    if pixels.dtype == np.uint8 and len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        resized: np.ndarray = np.asarray(image.resize(target, Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        return resized
    if pixels.dtype == np.uint8:
        planes = [
            Image.fromarray(plane).resize(target, Image.Resampling.BICUBIC) for plane in np.ascontiguousarray(pixels)
        ]
        return np.stack([np.asarray(plane) for plane in planes])
    floats = np.ascontiguousarray(pixels, np.float32)
    planes = [Image.fromarray(plane).resize(target, Image.Resampling.BICUBIC) for plane in floats]
    made = np.stack([np.asarray(plane) for plane in planes])
    if pixels.dtype.kind == "f":
        return made.astype(pixels.dtype)
    # Bicubic weights overshoot at edges.
    rounded: np.ndarray = np.rint(made).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return rounded
