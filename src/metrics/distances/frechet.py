"""The Fréchet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017 for FID).

    d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^{1/2} S_b S_a^{1/2})^{1/2})

With factors S = F F^T the last trace is that of (F_a^T S_b F_a)^{1/2}: the sum of the singular values of F_a^T F_b.
Nothing is squared on the way, so singular covariances (fewer samples than features) lose no digits and no
complex parts appear.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference.statistics import GaussianStatistics, statistics_of
from .base import FeatureMetric


class FrechetDistance(FeatureMetric):
    """Fréchet distance to the reference, named ``fid`` for Inception features, ``frechet_...`` for others.

    Equal to ``torchmetrics.image.fid.FrechetInceptionDistance`` up to rounding, with a matrix root that also holds
    for singular covariances.
    """

    higher_is_better = False
    needs_reference = True

    def compute(self) -> dict[str, Tensor]:
        generated = statistics_of(self.generated(), self.extractor.fingerprint, "the samples")
        distance = frechet_distance(self.reference.statistics, generated)
        return {self.extractor.distance_name: torch.tensor(distance, dtype=torch.float64)}

    def notes(self, count: int) -> list[str]:
        notes = []
        features = self.extractor.num_features
        if count < features + 1:
            notes.append(f"{count} samples leave the covariance of {features} features singular")
        if self.reference.statistics.fingerprint is None:
            notes.append("the extractor of the reference is unknown")
        return notes


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """The squared Fréchet distance d^2 >= 0 of two Gaussians, which is what FID reports.

    Raises:
        ValueError: the numbers of features differ, or a sigma is no covariance.
    """
    if a.mu.shape != b.mu.shape:
        raise ValueError(f"statistics of {len(a.mu)} and of {len(b.mu)} features do not compare")
    mu_a, sigma_a, mu_b, sigma_b = (x.double().cpu() for x in (a.mu, a.sigma, b.mu, b.sigma))
    overlap = torch.linalg.svdvals(_factor(mu_a, sigma_a, a.n).T @ _factor(mu_b, sigma_b, b.n)).sum()
    squared = (mu_a - mu_b).square().sum() + sigma_a.trace() + sigma_b.trace() - 2 * overlap
    return max(float(squared), 0.0)


def _factor(mu: Tensor, sigma: Tensor, n: int | None) -> Tensor:
    """F (d, r) with F F^T = sigma, r the numerical rank."""
    values, vectors = torch.linalg.eigh(sigma)
    largest = values[-1].clamp(min=0)
    # sigma is a sum over n samples less the square of the mean: of samples that are all the same, rounding alone stays.
    eps = torch.finfo(torch.float64).eps
    rounding = eps * (len(mu) * largest + (len(mu) + (n or 0)) * mu.square().sum())
    if values[0] < -1e-6 * largest - rounding:
        raise ValueError("sigma has negative eigenvalues, so it is no covariance")
    # Smaller ones are rounding; their roots would not be small.
    kept = values > rounding
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
