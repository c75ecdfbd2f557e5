"""Horizontal flips, as pure functions that run on the device of their argument."""

from __future__ import annotations

import torch
from torch import Tensor

from ...noise import uniform


def flip_decisions(seed: int, epoch: int, count: int, device: torch.device) -> Tensor:
    """Return whether image i is mirrored in an epoch, with probability 1/2: (count,) bool."""
    chunks = torch.arange(count, device=device).tensor_split(max(1, count >> 20))
    return torch.cat([uniform(seed, "flip", epoch, index) < 0.5 for index in chunks])


def flip(x: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images whose entry of ``mirrored`` (B,) bool is true: (B, C, H, W) -> (B, C, H, W)."""
    # Choosing whole rows is several times as fast as `where` on bytes with a broadcast condition.
    rows = torch.arange(len(x), device=x.device) + len(x) * mirrored
    return torch.cat([x, x.flip(-1)]).index_select(0, rows)
