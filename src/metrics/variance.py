"""Scores of several trainings and several draws of samples: how much they vary, and whether two settings differ.

Under common noise, draw j starts from the same noise for every training, so scores of a setting follow the crossed
random-effects model

    score[i, j] = mean + training_i + draw_j + rest_ij.

Variances come from the mean squares of its analysis of variance (Searle, Casella and McCulloch 1992, sec. 4.5),
intervals of sums of mean squares from Satterthwaite's degrees of freedom (1946). Without a share of the draws in the
difference this is Welch's t test (1947) of the trainings' means.

All functions accept leading dimensions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .intervals import Estimate


class MeanSquares(NamedTuple):
    """Mean squares of a table of scores, float64; NaN where there are too few trainings or draws.

    Args:
        trainings: mean square of the trainings' means, times n.
        draws: mean square of the draws' means, times k.
        rest: mean square of the residual.
    """

    trainings: Tensor
    draws: Tensor
    rest: Tensor


class Spread(NamedTuple):
    """How much the scores of one setting vary.

    Args:
        mean: over trainings and draws, with its interval for all possible trainings and draws.
        trainings: standard deviation between trainings; NaN for a single one.
        draws: standard deviation between draws of one training; NaN for a single one.
    """

    mean: Estimate
    trainings: Estimate
    draws: Estimate


class Difference(NamedTuple):
    """The mean score of one setting minus the mean score of another.

    Args:
        settings: the difference, with the interval for new trainings and new draws; NaN ends if a setting has a single
            training.
        trainings: the same difference, with the interval for new draws of these trainings; NaN ends for a single draw.
        p_value: probability of so large a difference if the settings are equal.
    """

    settings: Estimate
    trainings: Estimate
    p_value: Tensor


def mean_squares(scores: Tensor) -> MeanSquares:
    """The analysis of variance of scores (..., k trainings, n draws)."""
    y = scores.double()
    k, n = y.shape[-2:]
    rows, columns = y.mean(-1), y.mean(-2)
    rest = y - rows[..., :, None] - columns[..., None, :] + y.mean((-2, -1))[..., None, None]
    free = (k - 1) * (n - 1)
    nothing = torch.full(y.shape[:-2], math.nan, dtype=torch.float64)
    return MeanSquares(
        n * rows.var(-1) if k > 1 else nothing,
        k * columns.var(-1) if n > 1 else nothing,
        rest.square().sum((-2, -1)) / free if free else nothing,
    )


def spread(scores: Tensor, level: float = 0.95) -> Spread:
    """Mean and standard deviations of scores (..., k, n), with intervals at ``level``."""
    k, n = scores.shape[-2:]
    of = mean_squares(scores)
    shared = (of.draws - of.rest).clamp(min=0).nan_to_num()
    mean = _t_interval(
        scores.double().mean((-2, -1)), [(of.trainings / (k * n), k - 1), (shared / (k * n), n - 1)], level
    )
    # The mean over trainings of the variance over draws.
    rest = of.rest.nan_to_num()
    within = [(of.draws / k, n - 1), ((k - 1) / k * rest, max((k - 1) * (n - 1), 1))]
    total, free = _satterthwaite(within)
    low, high = (total * free / _chi2(q, free) for q in ((1 + level) / 2, (1 - level) / 2))
    draws = Estimate(*(x.sqrt() for x in (total, low, high)))
    return Spread(mean, _between(of, k, n, level), draws)


def difference(a: Tensor, b: Tensor, level: float = 0.95) -> Difference:
    """Compare two settings under common noise.

    Args:
        a: (..., k, n) scores of one setting; draw j has the same noise in ``b``.
        b: (..., l, n) scores of the other.
        level: confidence level of the intervals.
    """
    n = a.shape[-1]
    sides = [(mean_squares(y), y.shape[-2]) for y in (a, b)]
    paired = a.double().mean(-2) - b.double().mean(-2)
    value = paired.mean(-1)
    nothing = torch.full_like(value, math.nan)
    of_draws = paired.var(-1) / n if n > 1 else nothing
    trainings = [(of.trainings / (k * n), k - 1) for of, k in sides]
    # The trainings' part already includes that of the rest.
    rest = sum((of.rest.nan_to_num() / (k * n) for of, k in sides), torch.zeros_like(value))
    parts = [*trainings, ((of_draws - rest).clamp(min=0).nan_to_num(), max(n - 1, 1))]
    variance, free = _satterthwaite(parts)
    statistic = value.abs() / variance.sqrt()
    p_value = torch.as_tensor(2 * stats.t.sf(statistic.numpy(), free.numpy()), dtype=torch.float64)
    return Difference(_t_interval(value, parts, level), _t_interval(value, [(of_draws, n - 1)], level), p_value)


def trainings_needed(a: Tensor, b: Tensor) -> int | None:
    """How many trainings of each setting show a difference as large as this one in four of five comparisons.

    None for a difference of zero or settings with a single training.

    Args:
        a: (k, n) scores of one setting.
        b: (l, n) scores of the other.
    """
    size = float(a.double().mean() - b.double().mean()) ** 2
    variance = sum(float(y.double().mean(-1).var()) if len(y) > 1 else math.nan for y in (a, b))
    if size == 0 or math.isnan(variance):
        return None
    # Normal quantiles of 5 % significance, two-sided, and 80 % power.
    return max(2, math.ceil((1.96 + 0.84) ** 2 * variance / size))


def _between(of: MeanSquares, k: int, n: int, level: float) -> Estimate:
    """Standard deviation between trainings, its interval by Williams (1962) and Tukey (1951)."""
    if k < 2 or n < 2:
        # With one draw, this deviation includes that of the draws.
        total = of.trainings / n
        free = torch.full_like(total, max(k - 1, 1))
        low, high = (total * free / _chi2(q, free) for q in ((1 + level) / 2, (1 - level) / 2))
        return Estimate(*(x.sqrt() for x in (total, low, high)))
    ends = []
    for q in ((1 + level) / 2, (1 - level) / 2):
        f, chi2 = float(stats.f.ppf(q, k - 1, (k - 1) * (n - 1))), float(stats.chi2.ppf(q, k - 1))
        ends.append((k - 1) * (of.trainings - f * of.rest) / (n * chi2))
    value = (of.trainings - of.rest) / n
    return Estimate(*(x.clamp(min=0).sqrt() for x in (value, *ends)))


def _t_interval(value: Tensor, parts: list[tuple[Tensor, int]], level: float) -> Estimate:
    variance, free = _satterthwaite(parts)
    half = torch.as_tensor(stats.t.ppf((1 + level) / 2, free.numpy()), dtype=torch.float64) * variance.sqrt()
    return Estimate(value, value - half, value + half)


def _satterthwaite(parts: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """The sum of independent mean squares, each with its degrees of freedom, and the sum's degrees of freedom."""
    total = torch.stack([part for part, _ in parts]).sum(0)
    weights = torch.stack([part.square() / max(free, 1) for part, free in parts]).sum(0)
    # Equal scores have no variance; any degrees of freedom will do.
    return total, torch.where(weights > 0, total.square() / weights, torch.ones_like(total))


def _chi2(q: float, free: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(stats.chi2.ppf(q, free.numpy())), dtype=torch.float64)
