"""Mirrored images: how far images differ from their mirror images in the direction in which the reference does.

With d(x) = f(x) - f(mirrored x) for features f, Fisher's discriminant w = S^-1 m of the reference (mean m and
covariance S of d) has the largest mean of w . d for its error. Mirroring changes the sign of d, so the mean of w . d
is c times that of the reference if a share (1 - c) / 2 of the images is mirrored. The discriminant is fitted to one
half of the reference and compared with the other, in turn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import CERTAIN, Evidence

_NAMED = (0.35, 0.65), (0.9, 1.1)
"""Shares of mirrored images that count: training with random flips, or all images."""

_RIDGE = 1e-3


def asymmetry(ours: Tensor, theirs: Tensor) -> list[Evidence]:
    """Return evidence that images are mirrored.

    Args:
        ours: (N, f) features of the images, less those of their mirror images.
        theirs: (M, f) the same of the reference.
    """
    half = len(theirs) // 2
    if half < 2 * theirs.shape[1]:
        return []
    parts = theirs[:half].double(), theirs[half:].double()
    kept, found = [], torch.zeros(len(ours), dtype=torch.float64)
    for fitted, other in (parts, parts[::-1]):
        covariance = torch.cov(fitted.T)
        ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
        direction = torch.linalg.lstsq(covariance + ridge, fitted.mean(0)[:, None]).solution[:, 0]
        kept.append(other @ direction)
        found += ours.double() @ direction / 2
    known = torch.cat(kept)
    error, other = float(found.std()) / len(found) ** 0.5, float(known.std()) / len(known) ** 0.5
    # Mirrored and other images look alike in this data set.
    if float(known.mean()) < CERTAIN * other:
        return []
    ratio = float(found.mean() / known.mean())
    deviation = (error**2 + (ratio * other) ** 2) ** 0.5 / float(known.mean())
    share, errors = (1 - ratio) / 2, (1 - ratio) / deviation
    if errors < CERTAIN or not any(low < share < high for low, high in _NAMED):
        return []
    text = (
        f"{100 * share:.0f} % ± {98 * deviation:.0f} % of the images seem to be mirrored, compared with the reference"
    )
    return [Evidence("flips", text, errors, certain=False)]
