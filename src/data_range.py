"""From floats in the range of the data to bytes. Imports nothing of the project but errors; everyone may import it."""

from __future__ import annotations

from torch import Tensor

from .errors import UserError

MODES = ("round", "truncate")


def check_mode(mode: str) -> str:
    """``mode``, if it is one; UserError otherwise."""
    if mode not in MODES:
        raise UserError(f"quantize={mode}: choose one of {', '.join(MODES)}")
    return mode


def to_uint8(x: Tensor, data_range: str, mode: str = "round") -> Tensor:
    """Floats to bytes, clipped to [0, 255]; NaN becomes 0.

    Args:
        x: (B, *d) float in ``data_range``.
        data_range: ``unit`` [0, 1] or ``centered`` [-1, 1].
        mode: ``round`` to the nearest byte, halves upwards (as EDM does), or ``truncate`` towards zero, as the code
            of Song et al. 2021 does, which darkens an image by half a level.
    """
    check_mode(mode)
    levels = x.float() * 255 if data_range == "unit" else (x.float() + 1) * 127.5
    shifted = levels + 0.5 if mode == "round" else levels
    quantized: Tensor = shifted.nan_to_num(0).clamp(0, 255).byte()
    return quantized
