"""Compute scores of given features, without images."""

from __future__ import annotations

import torch
from torch import Tensor

from src.metrics import Estimate, FeatureExtractor, FeatureMetric, Reference, statistics_of


class Given(FeatureExtractor):
    """Extractor of features given by a test; probabilities are the softmax of the features."""

    fingerprint = "given"

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : self.num_features].float()

    def probabilities(self, features: Tensor) -> Tensor:
        return features.softmax(dim=1)


def attached(
    metric: FeatureMetric, generated: Tensor, real: Tensor | None = None, extractor: FeatureExtractor | None = None
) -> FeatureMetric:
    """Attach generated features (N, d), and real ones (M, d) as reference, to ``metric``."""
    extractor = extractor or Given(generated.shape[1])
    reference = None if real is None else Reference(statistics_of(real, extractor.fingerprint), real)
    metric.attach(extractor, reference)
    metric.update({"main": generated}, torch.arange(len(generated)))
    return metric


def score(
    metric: FeatureMetric, generated: Tensor, real: Tensor | None = None, extractor: FeatureExtractor | None = None
) -> dict[str, float | list[float]]:
    """Return the scores of generated features (N, d) against real ones (M, d)."""
    results = attached(metric, generated, real, extractor).compute()
    return {name: float(r.value) if isinstance(r, Estimate) else r.tolist() for name, r in results.items()}
