"""Inception score (Salimans et al. 2016): exp of the mean divergence KL(p(y|x) || p(y))."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..noise import permutation
from .feature_metric import Measured, Reference


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation over splits of the samples, shuffled by an addressed permutation.

    Args:
        splits: into how many parts of like size the samples are cut, as far as there are two for each; 10 in the
            literature.
        seed: of the shuffle.
    """

    splits: int = 10
    seed: int = 0

    needs_reference = False
    needs_reference_features = False
    min_samples = 2

    def __call__(self, measured: Measured, reference: Reference | None) -> dict[str, float | list[float]]:
        probabilities = measured.probabilities()
        shuffled = probabilities[permutation(self.seed, "inception-score", 0, len(probabilities))]
        # One image alone scores 1, whatever it is.
        parts = shuffled.tensor_split(min(self.splits, max(len(shuffled) // 2, 1)))
        scores = torch.stack([classifier_score(part) for part in parts])
        return {"inception_score": float(scores.mean()), "inception_score_std": float(scores.std(correction=0))}

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        if len(measured.features) < 1000 * self.splits:
            return [f"Inception score over splits of {-(-len(measured.features) // self.splits)} is biased low"]
        return []


def classifier_score(probabilities: Tensor) -> Tensor:
    """exp(E_x KL(p(y|x) || p(y))) of probabilities (N, K): between 1 and K."""
    marginal = probabilities.mean(dim=0)
    # xlogy is zero where a probability is zero, as p log p is in the limit.
    divergence = torch.xlogy(probabilities, probabilities) - torch.xlogy(probabilities, marginal)
    return divergence.sum(dim=1).mean().exp()
