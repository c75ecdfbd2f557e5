"""Several extractors over one pass of images: their features side by side, and metrics that look at one of them.

The moments of side-by-side features hold those of each part as a block, so one reference serves all parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UserError
from .extractor import FeatureExtractor
from .feature_metric import FeatureMetric, Measured, Reference


class JoinedFeatures(FeatureExtractor):
    """The features of several extractors, concatenated.

    Args:
        parts: the extractors by name; the first gives the name of the distance and the probabilities.
    """

    def __init__(self, parts: Mapping[str, FeatureExtractor]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(parts))
        first, *_ = parts.values()
        self.num_features = sum(part.num_features for part in parts.values())
        self.num_classes = first.num_classes
        self.distance_name = first.distance_name
        self.fingerprint = "+".join(part.fingerprint for part in parts.values())
        self.resize = ", ".join(dict.fromkeys(part.resize for part in parts.values()))

    def features(self, images: Tensor) -> Tensor:
        return torch.cat([part(images) for part in self.parts.values()], dim=1)

    def probabilities(self, features: Tensor) -> Tensor:
        name = next(iter(self.parts))
        return self.part(name).probabilities(features[:, self.columns(name)])

    def part(self, name: str) -> FeatureExtractor:
        """The extractor ``name``; UserError if there is none."""
        if name not in self.parts:
            raise UserError(f"there are no features {name}: choose one of {', '.join(self.parts)}")
        part = self.parts[name]
        assert isinstance(part, FeatureExtractor)
        return part

    def columns(self, name: str) -> slice:
        """Where the features of part ``name`` stand."""
        first = 0
        for other in self.parts:
            width = self.part(other).num_features
            if other == name:
                return slice(first, first + width)
            first += width
        raise UserError(f"there are no features {name}: choose one of {', '.join(self.parts)}")


class OfPart:
    """A metric over one part of joined features.

    Args:
        part: name of the part.
        metric: the metric.
    """

    def __init__(self, part: str, metric: FeatureMetric) -> None:
        self.part = part
        self.metric = metric
        self.needs_reference = metric.needs_reference
        self.needs_reference_features = metric.needs_reference_features
        self.min_samples = metric.min_samples

    def __call__(self, measured: Measured, reference: Reference | None) -> Mapping[str, float | list[float]]:
        return self.metric(*self._of_part(measured, reference))

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        return self.metric.notes(*self._of_part(measured, reference))

    def _of_part(self, measured: Measured, reference: Reference | None) -> tuple[Measured, Reference | None]:
        joined = measured.extractor
        if not isinstance(joined, JoinedFeatures):
            raise UserError(f"the metric of the features {self.part} needs metric.extractor to join several extractors")
        extractor, columns = joined.part(self.part), joined.columns(self.part)
        mine = Measured(measured.features[:, columns], extractor)
        if reference is None:
            return mine, None
        statistics = reference.statistics
        moments = replace(
            statistics,
            mu=statistics.mu[columns],
            sigma=statistics.sigma[columns, columns],
            fingerprint=None if statistics.fingerprint is None else extractor.fingerprint,
        )
        features = None if reference.features is None else reference.features[:, columns]
        return mine, Reference(moments, features)
