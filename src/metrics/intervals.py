"""95 % confidence intervals of scores, computed from the scored samples."""

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
        variance: () variance of the estimate, not of one sample.
        least: the smallest value that the score can have.
    """
    half = Z95 * variance.clamp(min=0).sqrt()
    return Estimate(*(x.to("cpu", torch.float64) for x in (value, (value - half).clamp(min=least), value + half)))


def wilson_interval(hits: Tensor) -> Estimate:
    """Share of true entries with Wilson's score interval (1927), which is valid for shares near 0 and 1 too.

    Args:
        hits: (N,) bool, independent.
    """
    # Here: scipy.stats takes a second to import.
    from scipy.stats import binomtest

    count = int(hits.sum())
    ends = binomtest(count, len(hits)).proportion_ci(0.95, "wilson")
    return Estimate(*(torch.tensor(x, dtype=torch.float64) for x in (count / len(hits), ends.low, ends.high)))
