"""How the Fréchet distance of N samples varies, and what it tends to as N grows.

The distance F depends on the weight of each sample through the moments. Its derivative with respect to the weight of
x, the influence (Hampel 1974), with z = x - mu, reference (m, R) and the optimal map T from N(mu, S) to N(m, R), is

    L(x) = 2 (mu - m)^T z + z^T (I - T) z - its mean,       T = F_R U s^{-1} U^T F_R^T,       F_R^T F_S = U s V^T

so the infinitesimal jackknife (Jaeckel 1972; Efron 1982) gives Var F_N = Var L / N without any resampling. Expand to
the second order: F_N = F + mean L + Q_N with E Q_N = B / N. At the moments of the samples themselves Var L / N
estimates Var(mean L) + 2 Var Q_N: as every jackknife, too much. The excess falls as 1 / N^2 and is measured on halves:

    Var F_N = Var L(N) / N - (Var L(N / 2) - Var L(N)) / (2 N)

Of the extrapolation in 1 / N from 1, 2, .. p disjoint parts of all N samples the linear term is the same mean L, and
the second-order term varies twice as much as Q_N: its variance is Var L(N) / N as it stands.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..reference.statistics import GaussianStatistics, statistics_of

_CHUNK = 4096


class Expansion(NamedTuple):
    """First-order expansion of a distance.

    Args:
        distance: () squared Fréchet distance.
        variance: () of the influence of one sample, over the number of samples.
        samples: N.
        influence: (N,) of each sample.
    """

    distance: Tensor
    variance: Tensor
    samples: int
    influence: Tensor


def expansion(features: Tensor, reference: GaussianStatistics, device: torch.device) -> Expansion:
    """The distance of samples to a reference, with the variance of its influence; about 4 d^3 + N d^2 operations.

    Args:
        features: (N, d) of the samples, N >= 2.
        reference: moments (d,), (d, d).
        device: device of the sums over samples; it must support float64.
    """
    if features.shape[1] != len(reference.mu):
        raise ValueError(f"{features.shape[1]} and {len(reference.mu)} features do not compare")
    # Operations of order N d^2 run on the device; decompositions run on the CPU, because GPUs are slow at them in
    # float64.
    samples = statistics_of(features, reference.fingerprint, "the samples", device).cpu()
    shift = samples.mu - reference.mu
    u, s, _ = torch.linalg.svd(reference.factor.T @ samples.factor, full_matrices=False)
    distance = shift.square().sum() + samples.sigma.trace() + reference.sigma.trace() - 2 * s.sum()
    kept = s > 1e-10 * s[:1]
    root = reference.factor @ (u[:, kept] / s[kept].sqrt())  # (d, r), T = root root^T
    mu, shift, root = (x.to(device) for x in (samples.mu, shift, root))
    parts = torch.split(features, _CHUNK)
    influence = torch.cat([_influence(part.to(root) - mu, shift, root) for part in parts]).cpu()
    return Expansion(distance, influence.var() / len(features), len(features), influence)


def _influence(z: Tensor, shift: Tensor, root: Tensor) -> Tensor:
    influence: Tensor = 2 * z @ shift + z.square().sum(dim=1) - (z @ root).square().sum(dim=1)
    return influence


def variance_of_distance(whole: Expansion, halves: list[Expansion]) -> Tensor:
    """Variance () of the distance of N samples, from their expansion and those of their two halves."""
    # Var L(N / 2) / N, where the expansion of a half divides by N / 2.
    of_half = torch.stack([half.variance * half.samples for half in halves]).mean() / whole.samples
    excess = (of_half - whole.variance) / 2
    # Var(mean L) is not negative, so the excess is at most half of the plain estimate.
    return whole.variance - excess.clamp(min=torch.zeros_like(excess), max=whole.variance / 2)


def extrapolate(curve: Tensor) -> Tensor:
    """The intercept () of the least-squares line through distances (p,) of N / 1, .. N / p samples, in 1 / N."""
    x = torch.arange(1, len(curve) + 1, dtype=curve.dtype, device=curve.device)
    line = torch.linalg.lstsq(torch.stack([torch.ones_like(x), x], dim=1), curve[:, None]).solution
    intercept: Tensor = line[0, 0]
    return intercept
