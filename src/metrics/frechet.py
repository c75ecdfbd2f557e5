"""The Fréchet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017 for FID).

    d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^{1/2} S_b S_a^{1/2})^{1/2})

With factors S = F F^T the last trace is that of (F_a^T S_b F_a)^{1/2}: the sum of the singular values of F_a^T F_b.
Nothing is squared on the way, so singular covariances (fewer samples than features) lose no digits and no
complex parts appear.
"""

from __future__ import annotations

import torch
from torch import Tensor

from src.metrics.statistics import GaussianStatistics


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """The squared Fréchet distance d^2 >= 0 of two Gaussians, which is what FID reports.

    Raises:
        ValueError: the numbers of features differ, or a sigma is no covariance.
    """
    if a.mu.shape != b.mu.shape:
        raise ValueError(f"statistics of {len(a.mu)} and of {len(b.mu)} features do not compare")
    mu_a, sigma_a, mu_b, sigma_b = (x.double().cpu() for x in (a.mu, a.sigma, b.mu, b.sigma))
    overlap = torch.linalg.svdvals(_factor(sigma_a).T @ _factor(sigma_b)).sum()
    squared = (mu_a - mu_b).square().sum() + sigma_a.trace() + sigma_b.trace() - 2 * overlap
    return max(float(squared), 0.0)


def _factor(sigma: Tensor) -> Tensor:
    """F (d, r) with F F^T = sigma, r the numerical rank."""
    values, vectors = torch.linalg.eigh(sigma)
    largest = values[-1].clamp(min=0)
    if values[0] < -1e-6 * largest or bool(largest <= 0 and sigma.any()):
        raise ValueError("sigma has negative eigenvalues, so it is no covariance")
    # Below this, eigenvalues are rounding of the decomposition; their roots would not be small.
    kept = values > len(values) * torch.finfo(torch.float64).eps * largest
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
