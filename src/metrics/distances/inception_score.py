"""Inception score (Salimans et al. 2016): exp of the mean divergence KL(p(y|x) || p(y))."""

from __future__ import annotations

import torch
from torch import Tensor

from ...noise import permutation
from .base import MAIN, FeatureMetric


class InceptionScore(FeatureMetric):
    """Mean and standard deviation over splits of the samples, shuffled by an addressed permutation.

    Each split scores as ``torchmetrics.image.inception.InceptionScore``, which shuffles with the global
    ``torch.randperm`` and is not finite where a probability is zero.

    Args:
        splits: number of parts of about equal size, at most half the number of samples; 10 in the literature.
        seed: of the shuffle.
        features: name of the extractor.
    """

    higher_is_better = True

    def __init__(self, splits: int = 10, seed: int = 0, features: str = MAIN) -> None:
        super().__init__(features)
        self.splits = splits
        self.seed = seed

    def compute(self) -> dict[str, Tensor]:
        probabilities = self.probabilities()
        shuffled = probabilities[permutation(self.seed, "inception-score", 0, len(probabilities))]
        # A single image scores 1, whatever it is.
        parts = shuffled.tensor_split(min(self.splits, max(len(shuffled) // 2, 1)))
        scores = torch.stack([classifier_score(part) for part in parts])
        return {
            self.named("inception_score"): scores.mean(),
            self.named("inception_score_std"): scores.std(correction=0),
        }

    def notes(self, count: int) -> list[str]:
        if count < 1000 * self.splits:
            return [f"Inception score over splits of {-(-count // self.splits)} is biased low"]
        return []


def classifier_score(probabilities: Tensor) -> Tensor:
    """exp(E_x KL(p(y|x) || p(y))) of probabilities (N, K): between 1 and K."""
    marginal = probabilities.mean(dim=0)
    # xlogy is zero where a probability is zero, as p log p is in the limit.
    divergence = torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, marginal)
    return divergence.sum(dim=1).mean().exp()
