"""The two ranges of data: conversion from and to bytes, dequantization, bits/dim offset.

``unit`` data lie in [0, 1] (VE as in the paper), ``centered`` data in [-1, 1] (VP, sub-VP, EDM). Nets see [-1, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import UserError

RANGES = {"unit": (0.0, 1.0), "centered": (-1.0, 1.0)}
"""Lowest and highest value of each range."""

LEVELS = 256
"""Number of values of a byte."""

QUANTIZATIONS = ("round", "truncate")


def check_range(data_range: str, name: str = "data_range") -> str:
    """Return ``data_range``; raise UserError naming the setting ``name`` if there is no such range."""
    if data_range not in RANGES:
        raise UserError(f"{name}={data_range}: choose one of {', '.join(RANGES)}")
    return data_range


def check_quantize(quantize: str) -> str:
    """Return ``quantize``; raise UserError unless it is one of ``QUANTIZATIONS``."""
    if quantize not in QUANTIZATIONS:
        raise UserError(f"quantize={quantize}: choose one of {', '.join(QUANTIZATIONS)}")
    return quantize


def width(data_range: str) -> float:
    """Highest minus lowest value."""
    low, high = RANGES[data_range]
    return high - low


def to_centered(x: Tensor, data_range: str) -> Tensor:
    """Map x (B, *d) float from ``data_range`` to [-1, 1]."""
    return 2 * x - 1 if data_range == "unit" else x


def from_bytes(levels: Tensor, data_range: str) -> Tensor:
    """Map bytes b to b / 255 (unit) or 2 b / 255 - 1 (centered).

    Args:
        levels: (B, *d) uint8, or float in [0, 255].
        data_range: range of the result.

    Returns:
        (B, *d) float32, or the dtype of ``levels`` if that is float.
    """
    x = levels.clone() if levels.is_floating_point() else levels.to(torch.float32)
    return x.div_(255) if data_range == "unit" else x.div_(127.5).sub_(1)


def to_bytes(x: Tensor, data_range: str, quantize: str = "round") -> Tensor:
    """Quantize floats to bytes, clipped to [0, 255]; NaN becomes 0.

    Args:
        x: (B, *d) float in ``data_range``.
        data_range: ``unit`` or ``centered``.
        quantize: ``round`` to the nearest byte, halves upwards (as EDM does), or ``truncate`` toward zero, as the
            code of Song et al. 2021 does, which darkens an image by half a level.

    Returns:
        (B, *d) uint8.

    Raises:
        UserError: an unknown way to quantize.
    """
    check_quantize(quantize)
    levels = x.float() * 255 if data_range == "unit" else (x.float() + 1) * 127.5
    shifted = levels + 0.5 if quantize == "round" else levels
    quantized: Tensor = shifted.nan_to_num(0).clamp(0, 255).byte()
    return quantized


def dequantize(levels: Tensor, data_range: str, u: Tensor) -> Tensor:
    """Spread bytes b uniformly over their bins: (b + u) / 256 (unit) or 2 (b + u) / 256 - 1 (centered).

    The 256 bins tile the whole range, so the density of the result bounds the probability of the bytes from below
    (Theis et al. 2016, "A note on the evaluation of generative models", section 3.1).

    Args:
        levels: (B, *d) uint8.
        data_range: range of the result.
        u: (B, *d) float, uniform in [0, 1).

    Returns:
        (B, *d) in the dtype of u.
    """
    x = levels.to(u.dtype).add_(u)
    return x.div_(LEVELS) if data_range == "unit" else x.div_(LEVELS / 2).sub_(1)


def bits_per_dim_offset(data_range: str) -> float:
    """Return the bits that dequantization adds to -log2 p / d per byte: 8 for unit data, 7 for centered data."""
    return math.log2(LEVELS / width(data_range))
