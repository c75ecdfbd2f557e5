"""What a metric of a suite is: a function of features collected once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import UserError
from .extractor import FeatureExtractor
from .statistics import GaussianStatistics


@dataclass(frozen=True)
class Reference:
    """What samples are compared with.

    Args:
        statistics: moments of the reference features.
        features: (M, d) the features themselves, or None when no metric asked for them.
    """

    statistics: GaussianStatistics
    features: Tensor | None = None

    def required_features(self) -> Tensor:
        """The features; UserError when only moments are known, as from a statistics file."""
        if self.features is None:
            raise UserError(
                "the reference holds only mu and sigma, but KID, precision and recall need its features: "
                "compute the reference from the data set, or leave these metrics out"
            )
        return self.features


@dataclass(frozen=True)
class Measured:
    """One set of generated images, seen through an extractor.

    Args:
        features: (N, d) float32, in the order of the sample indices.
        extractor: what made them; it turns them into class probabilities.
    """

    features: Tensor
    extractor: FeatureExtractor

    @property
    def device(self) -> torch.device:
        """Where the extractor is, and where heavy work on the features may go."""
        return next((parameter.device for parameter in self.extractor.parameters()), torch.device("cpu"))

    def probabilities(self) -> Tensor:
        """(N, K) float64 class probabilities; ValueError when the extractor is no classifier."""
        parts = [self.extractor.probabilities(part.to(self.device)) for part in torch.split(self.features, 4096)]
        return torch.cat(parts).to("cpu", torch.float64)


@runtime_checkable
class FeatureMetric(Protocol):
    """A metric over collected features.

    ``needs_reference`` and ``needs_reference_features`` tell a suite what to prepare, ``min_samples`` how many images
    the metric is defined for.
    """

    needs_reference: bool
    needs_reference_features: bool

    @property
    def min_samples(self) -> int:
        """The fewest images that can be scored."""
        ...

    def __call__(self, measured: Measured, reference: Reference | None) -> Mapping[str, float | list[float]]:
        """Named results: numbers become values of the scores, lists details."""
        ...

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        """What a reader should know before comparing."""
        ...
