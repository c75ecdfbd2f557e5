"""95 % confidence intervals of scores, from the samples that gave the score."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


class Estimate(NamedTuple):
    """A score with its 95 % interval.

    Args:
        value: () float64.
        low: () lower end.
        high: () upper end.
    """

    value: Tensor
    low: Tensor
    high: Tensor


def normal_interval(value: Tensor, variance: Tensor, least: float = -math.inf) -> Estimate:
    """The interval of an asymptotically normal estimate.

    Args:
        value: ().
        variance: () of the estimate, not of one sample.
        least: the smallest value that the score can have.
    """
    half = Z95 * variance.clamp(min=0).sqrt()
    return Estimate(*(x.to("cpu", torch.float64) for x in (value, (value - half).clamp(min=least), value + half)))


def wilson_interval(hits: Tensor) -> Estimate:
    """Share of true entries with its score interval (Wilson 1927), which also holds for shares near 0 and 1.

    Args:
        hits: (N,) bool, independent.
    """
    n, share = len(hits), hits.double().mean()
    center = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (share * (1 - share) / n + Z95**2 / (4 * n**2)).sqrt()
    # At 0 and 1 the end is exact, and rounding must not move it across the share.
    low, high = torch.minimum(center - half, share), torch.maximum(center + half, share)
    return Estimate(*(x.to("cpu", torch.float64) for x in (share, low.clamp(min=0), high.clamp(max=1))))
