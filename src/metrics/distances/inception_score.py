"""Inception score (Salimans et al. 2016): exp of the mean divergence KL(p(y|x) || p(y))."""

from __future__ import annotations

import torch
from torch import Tensor

from ...noise import permutation
from ..intervals import Estimate, normal_interval
from .base import MAIN, FeatureMetric


class InceptionScore(FeatureMetric):
    """Mean and standard deviation over splits of the samples, shuffled by an addressed permutation.

    Each split scores as ``torchmetrics.image.inception.InceptionScore``, which shuffles with the global
    ``torch.randperm`` and is not finite where a probability is zero. The interval holds the mean score of splits of
    this size; it is that of the infinitesimal jackknife.

    Args:
        splits: number of parts of about equal size, at most half the number of samples; 10 in the literature.
        seed: seed of the shuffle.
        features: name of the extractor.
    """

    higher_is_better = True

    def __init__(self, splits: int = 10, seed: int = 0, features: str = MAIN) -> None:
        super().__init__(features)
        self.splits = splits
        self.seed = seed

    def compute(self) -> dict[str, Tensor | Estimate]:
        probabilities = self.probabilities()
        shuffled = probabilities[permutation(self.seed, "inception-score", 0, len(probabilities))]
        # A single image always scores 1.
        parts = shuffled.tensor_split(min(self.splits, max(len(shuffled) // 2, 1)))
        scores = torch.stack([divergences(part).mean().exp() for part in parts])
        # d exp(mean KL) = exp(mean KL) (KL(x) - mean KL): the marginal is where the mean divergence is least, so its
        # own change is of second order.
        influence = torch.cat([divergences(part) - divergences(part).mean() for part in parts])
        variance = scores.mean().square() * influence.square().mean() / len(influence)
        return {
            self.named("inception_score"): normal_interval(scores.mean(), variance, least=1),
            self.named("inception_score_std"): scores.std(correction=0),
        }

    def notes(self, count: int) -> list[str]:
        if count < 1000 * self.splits:
            return [f"Inception score over splits of {-(-count // self.splits)} is biased low"]
        return []


def divergences(probabilities: Tensor) -> Tensor:
    """KL(p(y|x) || p(y)) >= 0 (N,) of probabilities (N, K), with the mean of all rows as p(y)."""
    marginal = probabilities.mean(dim=0)
    # xlogy is zero where a probability is zero, as p log p is in the limit.
    divergence: Tensor = torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, marginal)
    return divergence.sum(dim=1)
