"""Resampling without a filter of the right width: neighbors are alternately near and far in the original.

From 80 to 32 pixels, the centers of whole boxes are 2 and 3 original pixels apart in turn, so every second difference
of neighbors is smaller (compare Popescu and Farid 2005). Images that are filtered correctly have no such pattern.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import CERTAIN, Evidence, Images

_PERIODS = (2, 3, 4)
_REPEATED = 3
"""Periods that an image must hold: the contents of small images have a profile of their own."""

_LEAST = 0.15


def resampling(images: Images, reference: Images | None) -> list[Evidence]:
    """Return evidence that differences of neighboring pixels alternate in the images and not in the reference."""
    if reference is None:
        return []
    found = []
    profiles = images.each(_profile), reference.each(_profile)
    for period in (period for period in _PERIODS if profiles[0].shape[-1] >= _REPEATED * period):
        (ours, error), (theirs, other) = (_contrast(profile, period) for profile in profiles)
        errors = float((ours - theirs).abs() / (error**2 + other**2).sqrt())
        if float((ours - theirs).abs()) > _LEAST and errors > CERTAIN:
            text = (
                f"differences of neighboring pixels alternate with a period of {period} pixels: contrast "
                f"{float(ours.abs()):.2f}, in the reference {float(theirs.abs()):.2f}, as after resizing by a rule "
                "without a filter of the right width"
            )
            found.append(Evidence("resize", text, errors, certain=False))
    return sorted(found, key=lambda e: -e.errors)[:1]


def _profile(images: Tensor) -> Tensor:
    """Mean squared difference of neighbors by position: (B, 2, n - 1) for n x n images; the shorter side counts."""
    x = images.float()
    across, down = x.diff(dim=-1).square().mean((1, 2)), x.diff(dim=-2).square().mean((1, 3))
    length = min(across.shape[1], down.shape[1])
    return torch.stack([across[:, :length], down[:, :length]], dim=1)


def _contrast(profile: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """The component of a period, relative to the mean, as a complex number with its standard error."""
    length = profile.shape[-1] // period * period
    x = profile[..., :length].double().mean(1)
    wave = torch.exp(2j * torch.pi * torch.arange(length, dtype=torch.float64) / period)
    part, level = 2 * (x * wave).mean(1), x.mean(1)
    contrast = part.mean() / level.mean()
    error = (part - contrast * level).abs().square().mean().sqrt() / level.mean() / len(x) ** 0.5
    return contrast, error
