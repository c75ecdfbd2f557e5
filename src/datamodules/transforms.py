"""Between bytes and floats. Pure functions of tensors; everything runs on the device of its argument."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..noise import uniform

DataRange = Literal["unit", "centered"]
"""``unit``: floats in [0, 1]; ``centered``: floats in [-1, 1]."""


def to_model(x: Tensor, data_range: DataRange) -> Tensor:
    """Bytes b to float32: b / 255 (unit) or 2 b / 255 - 1 (centered).

    Args:
        x: (B, *d) uint8.
        data_range: range of the result.
    """
    x = x.to(torch.float32)
    return x.div_(255) if data_range == "unit" else x.div_(127.5).sub_(1)


def dequantize(x: Tensor, data_range: DataRange, u: Tensor) -> Tensor:
    """Bytes b to the float32 (b + u) / 256 (unit) or 2 (b + u) / 256 - 1 (centered): uniform dequantisation.

    The 256 bytes tile the whole range, and the density of the result bounds the probability of the bytes from
    below (Theis et al. 2016, "A note on the evaluation of generative models", section 3.1). Bits per dimension of
    bytes are those of the unit range plus 8, of the centered range plus 7.

    Args:
        x: (B, *d) uint8.
        data_range: range of the result.
        u: (B, *d) uniform in [0, 1).
    """
    x = x.to(torch.float32).add_(u)
    return x.div_(256) if data_range == "unit" else x.div_(128).sub_(1)


def flip_decisions(seed: int, epoch: int, count: int, device: torch.device) -> Tensor:
    """Whether image i is mirrored in an epoch, with probability 1/2: (count,) bool."""
    chunks = torch.arange(count, device=device).tensor_split(max(1, count >> 20))
    return torch.cat([uniform(seed, "flip", epoch, index) < 0.5 for index in chunks])


def flip(x: Tensor, mirrored: Tensor) -> Tensor:
    """Mirrors the images whose entry of ``mirrored`` (B,) bool is true: (B, C, H, W) -> (B, C, H, W)."""
    # Choosing whole rows is several times as fast as `where` on bytes with a broadcast condition.
    rows = torch.arange(len(x), device=x.device) + len(x) * mirrored
    return torch.cat([x, x.flip(-1)]).index_select(0, rows)
