"""The base of all metrics: a ``torchmetrics.Metric`` that keeps the features of generated images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ...distributed import gather_parts
from ...errors import UserError
from ...runtime.precision import full_precision
from ..extractors.base import FeatureExtractor
from ..intervals import Estimate
from ..reference.statistics import Reference

MAIN = "main"


class FeatureMetric(Metric):
    """A metric over the features of one extractor.

    The states are lists of feature batches and of sample indices, which torchmetrics concatenates over the ranks.
    Features are kept, not only their sums: an image that two ranks made must count once, and intervals need them.
    Metrics of one extractor have equal states, so a ``MetricCollection`` with one compute group per extractor stores
    them once.

    Args:
        features: name of the extractor in the suite; ``main`` is the suite's ``extractor``.

    Attributes:
        needs_reference: whether ``compute`` needs the moments of the reference.
        needs_reference_features: whether ``compute`` needs the features of the reference.
    """

    full_state_update = False
    is_differentiable = False
    needs_reference: ClassVar[bool] = False
    needs_reference_features: ClassVar[bool] = False

    features: list[Tensor]
    index: list[Tensor]

    def __init__(self, features: str = MAIN) -> None:
        # Nothing is cached: the same features may be scored again against another reference.
        super().__init__(dist_sync_fn=gather_parts, compute_with_cache=False)
        self.extractor_name = features
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("index", default=[], dist_reduce_fx="cat")
        # In a tuple, because nn.Module would register an extractor attribute as a submodule.
        self._setting: tuple[FeatureExtractor, Reference | None] | None = None

    @property
    def min_samples(self) -> int:
        """The smallest number of images that can be scored."""
        return 2

    def attach(self, extractor: FeatureExtractor, reference: Reference | None) -> None:
        """Set the extractor that made the features, and the reference to compare them with.

        Raises:
            UserError: this metric needs a reference and got none, or one of another extractor.
        """
        if self.needs_reference:
            _check(reference, extractor)
        self._setting = (extractor, reference)

    def update(self, features: Mapping[str, Tensor], index: Tensor) -> None:
        """Add one batch.

        Args:
            features: (B, d) by the name of the extractor.
            index: (B,) int64, the address of each image. Equal addresses count once; -1 always counts.
        """
        self.features.append(features[self.extractor_name])
        self.index.append(index)

    def compute(self) -> dict[str, Tensor | Estimate]:
        """Return scores by name, over the images of all ranks: (3,) with an interval, () without one, (K,) for a list.

        Raises:
            UserError: there are too few images.
        """
        raise NotImplementedError

    def notes(self, count: int) -> list[str]:
        """What a reader must know before comparing scores of ``count`` images."""
        return []

    @property
    def extractor(self) -> FeatureExtractor:
        """The extractor that was attached."""
        assert self._setting is not None, "attach an extractor first"
        return self._setting[0]

    @property
    def reference(self) -> Reference:
        """The reference that was attached."""
        assert self._setting is not None and self._setting[1] is not None, "attach a reference first"
        return self._setting[1]

    def named(self, score: str) -> str:
        """The name of a score; it contains the extractor's name unless that is the main extractor."""
        return score if self.extractor_name == MAIN else f"{score}_{self.extractor_name}"

    def generated(self) -> Tensor:
        """Features (N, d) of the generated images, each image once, in the order of their indices."""
        features, index = dim_zero_cat(self.features), dim_zero_cat(self.index)
        order = index.argsort(stable=True)
        ordered = index[order]
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = (ordered[1:] != ordered[:-1]) | (ordered[1:] < 0)
        return features[order[first]]

    def probabilities(self) -> Tensor:
        """Class probabilities (N, K) float64 of the generated images; ValueError if the extractor does not classify."""
        probabilities = self.extractor.probabilities
        with full_precision(self.work_device.type):
            parts = [probabilities(part.to(self.work_device)) for part in torch.split(self.generated(), 4096)]
        return torch.cat([part.to("cpu", torch.float64) for part in parts])

    @property
    def work_device(self) -> torch.device:
        """The extractor's device, for expensive operations on the features."""
        return self.extractor.device

    @property
    def float64_device(self) -> torch.device:
        """The extractor's device, or the CPU if that device has no float64."""
        return torch.device("cpu") if self.work_device.type == "mps" else self.work_device

    def in_float64(self, features: Tensor) -> Tensor:
        """Features in float64, on ``float64_device``."""
        return features.to(self.float64_device, torch.float64)


class SampleCount(FeatureMetric):
    """The number of images; raises UserError below two, for all metrics of a suite."""

    def compute(self) -> dict[str, Tensor | Estimate]:
        count = len(self.generated())
        if count < 2:
            raise UserError(f"{count} images cannot be scored: metrics need at least 2")
        return {"samples": torch.tensor(count)}


def _check(reference: Reference | None, extractor: FeatureExtractor) -> None:
    if reference is None:
        raise UserError("these metrics need a reference: give a data set or a statistics file")
    statistics = reference.statistics
    if statistics.fingerprint not in (None, extractor.fingerprint) or len(statistics.mu) != extractor.num_features:
        raise UserError(
            f"the reference was computed with {statistics.fingerprint} ({len(statistics.mu)} features), "
            f"but the extractor is {extractor.fingerprint}: compute the reference again"
        )
