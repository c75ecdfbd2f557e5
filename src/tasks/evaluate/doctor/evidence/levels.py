"""Byte values: a range that is never left, and a histogram that is shifted by half a level."""

from __future__ import annotations

import torch
from torch import Tensor

from .....metrics.intervals import Z95
from .base import CERTAIN, Evidence, Images

VIDEO = (16, 235)
_CHANCE = 30.0
"""Logarithm of how unlikely it must be that no image leaves the range of video levels."""

_SHIFTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)


def levels(images: Images, reference: Images | None) -> list[Evidence]:
    """Return evidence of video levels, and of truncation on one side and rounding on the other."""
    if reference is None:
        return []
    ours, theirs = images.each(_histograms), reference.each(_histograms)
    return [*_video(ours, theirs), *_half_level(ours, theirs)]


def _histograms(images: Tensor) -> Tensor:
    """Share of every level in every image: (B, 256) float."""
    flat = images.flatten(1).long()
    counts = torch.zeros(len(flat), 256, device=flat.device)
    return counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=counts.dtype)) / flat.shape[1]


def _video(ours: Tensor, theirs: Tensor) -> list[Evidence]:
    """All values lie within 16 to 235, which would be unlikely for as many images of the reference."""
    low, high = VIDEO
    share, other = (
        float(((levels[:, :low].sum(1) + levels[:, high + 1 :].sum(1)) > 0).double().mean())
        for levels in (ours, theirs)
    )
    if share > 0 or other * len(ours) < _CHANCE:
        return []
    text = (
        f"no value in {len(ours):,} images is outside {low} to {high}, but {other:.0%} of the reference images have one"
    )
    return [Evidence("range", text, (other * len(ours)) ** 0.5)]


def _half_level(ours: Tensor, theirs: Tensor) -> list[Evidence]:
    """The values differ by half a level: seen in the histogram if it has fine structure, otherwise in the mean."""
    shift, errors, how = _shift_of_histogram(ours, theirs)
    certain = shift != 0
    if not certain:
        shift, errors, how = _shift_of_mean(ours, theirs)
    if shift == 0:
        return []
    done = (
        "truncated, and those of the reference rounded"
        if shift < 0
        else "rounded, and those of the reference truncated"
    )
    return [Evidence("quantize", f"the values seem to be {done}: {how}", errors, certain)]


def _shift_of_histogram(ours: Tensor, theirs: Tensor) -> tuple[float, float, str]:
    """Return the shift of -0.5 or 0.5 that fits best, 0 for none, with its standard errors and a description.

    Log likelihoods are means over images, so that their error counts images and not pixels. The shift must also be
    better than the opposite one and than a symmetric blur of the histogram, which noise would cause.
    """
    known = theirs.double().mean(0)
    # No level is impossible, however few pixels there are.
    known = (known + 1e-6) / (known + 1e-6).sum()
    likelihood = {shift: ours.double() @ _shifted(known, shift).log() for shift in _SHIFTS}
    best = max(likelihood, key=lambda shift: float(likelihood[shift].mean()))
    blurred = (_shifted(known, 0.5) + _shifted(known, -0.5)) / 2
    others = [likelihood[0.0], likelihood[-best], ours.double() @ blurred.log()]
    gains = [likelihood[best] - other for other in others]
    errors = min(float(gain.mean() / gain.std().clamp(min=1e-12)) * len(ours) ** 0.5 for gain in gains)
    if abs(best) != 0.5 or errors < CERTAIN:
        return 0.0, errors, ""
    return best, errors, f"their histogram is that of the reference, shifted by {best:g} levels"


def _shift_of_mean(ours: Tensor, theirs: Tensor) -> tuple[float, float, str]:
    """The same from the mean of all values, whose error comes from the brightness of the images."""
    level = torch.arange(256, dtype=torch.float64)
    means = [levels.double() @ level for levels in (ours, theirs)]
    shift = float(means[0].mean() - means[1].mean())
    error = float(sum(mean.var() / len(mean) for mean in means) ** 0.5)
    if abs(shift) < CERTAIN * error or abs(abs(shift) - 0.5) > Z95 * error:
        return 0.0, abs(shift) / max(error, 1e-12), ""
    text = f"their mean differs from that of the reference by {shift:.2f} ± {Z95 * error:.2f} levels"
    return shift, abs(shift) / error, text


def _shifted(histogram: Tensor, shift: float) -> Tensor:
    """The histogram (256,) of values that are moved by ``shift`` levels, |shift| <= 1, and clipped at the ends."""
    moved = histogram.roll(1 if shift > 0 else -1)
    first, last = (0, -1) if shift > 0 else (-1, 0)
    # What left at one end came in at the other: it stays where it was.
    moved[last] += moved[first]
    moved[first] = 1e-9
    return (1 - abs(shift)) * histogram + abs(shift) * moved
