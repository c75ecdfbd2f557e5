"""The two ranges in which a model sees data; ``stored_values.py`` converts stored data from and to them.

``unit`` data lie in [0, 1] (VE as in the paper), ``centered`` data in [-1, 1] (VP, sub-VP, EDM). Nets see [-1, 1].
"""

from __future__ import annotations

from torch import Tensor

from .errors import UserError

RANGES = {"unit": (0.0, 1.0), "centered": (-1.0, 1.0)}
"""Lowest and highest value of each range."""

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
