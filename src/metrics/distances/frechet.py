"""The Fréchet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017 for FID).

    d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^{1/2} S_b S_a^{1/2})^{1/2})

With factors S = F F^T the last trace is that of (F_a^T S_b F_a)^{1/2}: the sum of the singular values of F_a^T F_b.
Nothing is squared on the way, so singular covariances (fewer samples than features) lose no digits and no
complex parts appear.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...noise import permutation
from ..intervals import Estimate, normal_interval
from ..reference.statistics import GaussianStatistics
from .base import MAIN, FeatureMetric
from .frechet_expansion import Expansion, expansion, extrapolate, variance_of_distance

LEAST_RATIO = 10
"""Below this many samples per feature the bias is not yet linear in 1/N, and no extrapolation is made."""


class FrechetDistance(FeatureMetric):
    """Fréchet distance to the reference, named ``fid`` for Inception features, ``frechet_...`` for others.

    The value equals ``torchmetrics.image.fid.FrechetInceptionDistance`` up to rounding, with a matrix root that also
    holds for singular covariances. Its interval is for the mean of this distance over sets of N samples. With at least
    ten samples per feature, ``..._infinity`` estimates the distance of infinitely many samples (Chong and Forsyth
    2020), with its own interval. ``..._curve`` is the mean distance of subsets of ``..._curve_samples`` samples.

    Cost: p (p + 1) / 2 decompositions of d x d matrices for p sizes, p at most 3 for 50,000 samples of 2048 features.

    Args:
        parts: the smallest sets of the curve have N / ``parts`` samples, but at least eight per feature.
        features: name of the extractor.
    """

    higher_is_better = False
    needs_reference = True

    def __init__(self, parts: int = 5, features: str = MAIN) -> None:
        super().__init__(features)
        if parts < 2:
            raise ValueError(f"parts={parts}: give at least 2 to extrapolate")
        self.parts = parts

    def compute(self) -> dict[str, Tensor | Estimate]:
        name, features, d = self.extractor.distance_name, self.generated(), self.extractor.num_features
        whole = self._expand(features)
        count = len(features)
        if count < 4:
            return {name: normal_interval(whole.distance.clamp(min=0), whole.variance, least=0)}
        halves = self._level(features, 2)
        variance = variance_of_distance(whole, halves)
        result: dict[str, Tensor | Estimate] = {
            name: normal_interval(whole.distance.clamp(min=0), variance, least=0),
        }
        if count < LEAST_RATIO * d:
            return result
        levels = [[whole], halves]
        levels += [self._level(features, k) for k in range(3, min(self.parts, count // (8 * d)) + 1)]
        curve = torch.stack([torch.stack([part.distance for part in level]).mean() for level in levels])
        # Its second-order noise is twice that of the distance itself, which equals the overestimate of the plain
        # influence.
        result[f"{name}_infinity"] = normal_interval(extrapolate(curve), whole.variance)
        result[f"{name}_curve"] = curve.cpu()
        result[f"{name}_curve_samples"] = count / torch.arange(1, len(levels) + 1, dtype=torch.float64)
        return result

    def _level(self, features: Tensor, parts: int) -> list[Expansion]:
        """Disjoint sets of about N / ``parts`` samples each, drawn by address, because files may be sorted by class."""
        order = permutation(0, "frechet-parts", parts, len(features))
        return [self._expand(features[chosen]) for chosen in order.tensor_split(parts)]

    def _expand(self, features: Tensor) -> Expansion:
        return expansion(features, self.reference.statistics, self.float64_device)

    def notes(self, count: int) -> list[str]:
        notes = []
        features = self.extractor.num_features
        if count < features + 1:
            notes.append(f"{count} samples leave the covariance of {features} features singular")
        elif count < LEAST_RATIO * features:
            notes.append(f"{LEAST_RATIO * features} samples are needed to extrapolate over {features} features")
        if self.reference.statistics.fingerprint is None:
            notes.append("the extractor of the reference is unknown")
        return notes


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """The squared Fréchet distance d^2 >= 0 of two Gaussians, which is what FID reports.

    Raises:
        ValueError: the numbers of features differ, or a sigma is not a covariance.
    """
    if a.mu.shape != b.mu.shape:
        raise ValueError(f"statistics of {len(a.mu)} and {len(b.mu)} features cannot be compared")
    overlap = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    squared = (a.mu - b.mu).square().sum() + a.sigma.trace() + b.sigma.trace() - 2 * overlap
    return max(float(squared), 0.0)
