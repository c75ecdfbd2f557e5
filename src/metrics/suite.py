"""Several metrics over one pass through the images, on any number of processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..distributed import gather_rows, on_rank_zero
from ..errors import UserError
from .extractor import FeatureExtractor
from .feature_metric import FeatureMetric, Measured, Reference
from .reference import reference_statistics
from .scores import Condition, Scores
from .statistics import load_statistics

_log = logging.getLogger(__name__)


class MetricSuite:
    """Collects features of generated images and scores them with every metric at once.

    It is no module, so that an extractor never enters a checkpoint or a gradient reduction. Use, on every process::

        reference = suite.reference(batches, data_fingerprint, source, device)
        suite.update(images, index)         # as often as needed
        scores = suite.compute(reference, quantisation="round")
        suite.reset()

    Args:
        extractor: makes the features.
        metrics: the metrics by a name that is only a handle for overrides.
        cache_dir: where reference statistics are kept.
        statistics_path: an npz file to use as the reference in place of the data set.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        metrics: Mapping[str, FeatureMetric],
        cache_dir: str | Path = "data/statistics",
        statistics_path: str | Path | None = None,
    ) -> None:
        self.extractor = extractor
        self.metrics = dict(metrics)
        self.cache_dir = Path(cache_dir)
        self.statistics_path = statistics_path
        self.reset()
        needing = [name for name, metric in self.metrics.items() if metric.needs_reference_features]
        if statistics_path is not None and needing:
            raise UserError(
                f"{', '.join(needing)} compare features, but statistics_path gives only mu and sigma: "
                "unset statistics_path or leave these metrics out"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether any metric compares with a reference."""
        return any(metric.needs_reference for metric in self.metrics.values())

    def reference(
        self, batches: Iterable[Tensor], data_fingerprint: str, source: str, device: torch.device | str = "cpu"
    ) -> Reference | None:
        """What to compare with, from the statistics file, the cache, or the images of a data set.

        Args:
            batches: all uint8 images (B, C, H, W) of the reference, unsharded; iterated only when needed.
            data_fingerprint: changes with anything that changes these images.
            source: the data in words with its split, as ``cifar10 train``.
            device: where the extractor runs.

        Returns:
            The reference, or None when no metric needs one.
        """
        if not self.needs_reference:
            return None
        if self.statistics_path is not None:
            extractor = self.extractor
            return Reference(load_statistics(self.statistics_path, extractor.fingerprint, extractor.num_features))
        return reference_statistics(
            batches,
            self.extractor,
            self.cache_dir,
            data_fingerprint,
            source=source,
            keep_features=any(metric.needs_reference_features for metric in self.metrics.values()),
            device=device,
        )

    def reset(self) -> None:
        """Forget all images."""
        self._features: list[Tensor] = []
        self._index: list[Tensor] = []

    def update(self, images: Tensor, index: Tensor | None = None) -> None:
        """Add the images of this process.

        Args:
            images: (B, C, H, W) uint8.
            index: (B,) int64, the address of each image in the whole run. An index seen twice, on any process,
                counts once, and scores do not depend on how images were dealt out. Without it all images count.

        Raises:
            ValueError: images are not uint8, or index was given for some batches only.
        """
        if bool(self._features) and bool(self._index) != (index is not None):
            raise ValueError("give the index of every batch or of none")
        self._features.append(self.extractor.to(images.device)(images).cpu())
        if index is not None:
            self._index.append(index.cpu())

    def compute(self, reference: Reference | None, *, quantisation: str) -> Scores:
        """Scores over the images of all processes; every process must call it and gets the same.

        Args:
            reference: from ``reference``; None when no metric needs one.
            quantisation: how images became uint8, ``round`` or ``truncate``.

        Raises:
            UserError: too few images, or a reference that does not fit.
        """
        features = self._gathered()
        return on_rank_zero(lambda: self._score(features, reference, quantisation))

    def _gathered(self) -> Tensor:
        """Features (N, d) of all processes, each image once, ordered by index where there is one."""
        empty = torch.empty(0, self.extractor.num_features)
        features = gather_rows(torch.cat([empty, *self._features]))
        index = gather_rows(torch.cat([torch.empty(0, dtype=torch.int64), *self._index]))
        if len(index) not in (0, len(features)):
            raise ValueError("some processes gave indices and some did not")
        if len(index) == 0:
            return features
        order = index.argsort(stable=True)
        ordered = index[order]
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return features[order[first]]

    def _score(self, features: Tensor, reference: Reference | None, quantisation: str) -> Scores:
        if len(features) < 2:
            raise UserError(f"{len(features)} images cannot be scored: metrics need at least 2")
        if self.needs_reference:
            self._check(reference)
        measured = Measured(features, self.extractor)
        values: dict[str, float] = {}
        details: dict[str, list[float]] = {}
        notes: list[str] = []
        for metric in self.metrics.values():
            for name, result in metric(measured, reference).items():
                if isinstance(result, list):
                    details[name] = result
                else:
                    values[name] = result
            notes += metric.notes(measured, reference)
        for note in notes:
            _log.info("%s", note)
        conditions: dict[str, Condition] = {
            "samples": len(features),
            "reference": reference.statistics.source if reference else "none",
            "reference_samples": reference.statistics.n if reference else 0,
            "extractor": self.extractor.fingerprint,
            "resize": self.extractor.resize,
            "quantisation": quantisation,
        }
        return Scores(values, conditions, details, tuple(notes))

    def _check(self, reference: Reference | None) -> None:
        if reference is None:
            raise UserError("these metrics compare with a reference, but none was given: name a data set or a file")
        statistics, extractor = reference.statistics, self.extractor
        if statistics.fingerprint not in (None, extractor.fingerprint) or len(statistics.mu) != extractor.num_features:
            raise UserError(
                f"the reference was computed with {statistics.fingerprint} ({len(statistics.mu)} features), "
                f"but the extractor is {extractor.fingerprint}: compute the reference again"
            )
