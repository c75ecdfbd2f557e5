"""Several metrics over one pass through the images, on any number of processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from ..distributed import rank
from ..errors import UserError
from ..progress import LongCall
from .distances.base import MAIN, FeatureMetric, SampleCount
from .extractors.base import FeatureExtractor
from .intervals import Estimate
from .reference.cache import reference_statistics
from .reference.statistics import Reference, load_statistics
from .scores import ScoreCondition, Scores

_log = logging.getLogger(__name__)

_COUNT = "samples"
References = Mapping[str, Reference]


class MetricSuite:
    """Extracts features of generated images once per extractor and scores them with a ``MetricCollection``.

    It is not a module, so that an extractor never enters a checkpoint or a gradient reduction. Use, on every process::

        reference = suite.reference(batches, data_fingerprint, source, device)
        suite.update(images, index)         # as often as needed
        scores = suite.compute(reference, quantization="round")
        suite.reset()

    torchmetrics concatenates the states over the ranks; each rank then computes the same scores.

    Args:
        extractor: makes the features of all metrics that do not name another; its distance is the one that is
            monitored.
        metrics: the metrics by name; overrides and ``metrics=[...]`` use these names.
        other_extractors: further extractors by the name that metrics give as ``features``.
        cache_dir: where reference statistics are kept.
        statistics_path: an npz file with the reference statistics of ``extractor``, in place of the data set.

    Raises:
        UserError: a metric names an extractor that does not exist, or needs features that ``statistics_path`` lacks.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        metrics: Mapping[str, FeatureMetric],
        other_extractors: Mapping[str, FeatureExtractor] | None = None,
        cache_dir: str | Path = "data/statistics",
        statistics_path: str | Path | None = None,
    ) -> None:
        self.extractor = extractor
        self.extractors = {MAIN: extractor, **(other_extractors or {})}
        self.metrics = dict(metrics)
        self.cache_dir = Path(cache_dir)
        self.statistics_path = statistics_path
        for name, metric in self.metrics.items():
            if metric.extractor_name not in self.extractors:
                raise UserError(
                    f"the metric {name} has features={metric.extractor_name}: "
                    f"choose one of {', '.join(self.extractors)}"
                )
        needing = [name for name, m in self.metrics.items() if m.needs_reference_features and m.extractor_name == MAIN]
        if statistics_path is not None and needing:
            raise UserError(
                f"{', '.join(needing)} compare features, but statistics_path gives only mu and sigma: "
                "unset statistics_path or leave these metrics out"
            )
        counted = {_COUNT: SampleCount(), **self.metrics}
        # Metrics of one extractor share their states.
        groups = [[n for n, metric in counted.items() if metric.extractor_name == name] for name in self.extractors]
        self._collection = MetricCollection(dict(counted), compute_groups=[group for group in groups if group])
        self.reset()

    @property
    def needs_reference(self) -> bool:
        """Whether any metric needs a reference."""
        return any(metric.needs_reference for metric in self.metrics.values())

    @property
    def needs_data(self) -> bool:
        """Whether the reference must come from a data set, because no file supplies all of it."""
        return bool(self._compared_with_data())

    @property
    def min_samples(self) -> int:
        """The smallest number of images that all metrics can score."""
        return max([2, *(metric.min_samples for metric in self.metrics.values())])

    def reference(
        self, batches: Iterable[Tensor], data_fingerprint: str, source: str, device: torch.device | str = "cpu"
    ) -> dict[str, Reference]:
        """Return the reference, from the statistics file, the cache, or the images of a data set.

        Args:
            batches: all uint8 images (B, C, H, W) of the reference, unsharded; iterated only when needed.
            data_fingerprint: changes with anything that changes these images.
            source: the data and its split, such as ``cifar10 train``.
            device: where the extractors run.

        Returns:
            A reference for each extractor whose metrics need one.
        """
        references = {}
        if self.statistics_path is not None and any(
            metric.needs_reference and metric.extractor_name == MAIN for metric in self.metrics.values()
        ):
            extractor = self.extractor
            statistics = load_statistics(
                self.statistics_path, extractor.fingerprint, extractor.num_features, extractor.resize
            )
            references[MAIN] = Reference(statistics)
        if names := self._compared_with_data():
            metrics = self.metrics.values()
            references |= reference_statistics(
                batches,
                {name: self.extractors[name] for name in names},
                self.cache_dir,
                data_fingerprint,
                source=source,
                keep_features={metric.extractor_name for metric in metrics if metric.needs_reference_features},
                device=device,
            )
        return references

    def reset(self) -> None:
        """Discard all images."""
        self._collection.reset()
        # torchmetrics concatenates states with the same number of dimensions over ranks, also on a rank without images.
        empty = {name: torch.empty(0, extractor.num_features) for name, extractor in self.extractors.items()}
        self._collection.update(features=empty, index=torch.empty(0, dtype=torch.int64))

    def update(self, images: Tensor, index: Tensor | None = None) -> None:
        """Add the images of this process.

        Args:
            images: (B, C, H, W) uint8.
            index: (B,) int64, the address of each image in the whole run. An index seen twice, on any process,
                counts once, and scores do not depend on which process adds which image. Without it all images count.

        Raises:
            ValueError: images are not uint8.
        """
        features = {name: e.to(images.device)(images).cpu() for name, e in self.extractors.items()}
        index = torch.full((len(images),), -1) if index is None else index.cpu()
        self._collection.update(features=features, index=index)

    def compute(self, references: References, *, quantization: str) -> Scores:
        """Scores over the images of all processes; every process must call it and gets the same.

        Args:
            references: from ``reference``.
            quantization: how images became uint8, ``round`` or ``truncate``.

        Raises:
            UserError: too few images, or a reference that does not fit.
        """
        # The collection sorts by name; the monitored distance must come first.
        metrics = dict(self._collection.items(keep_base=True, copy_state=False))
        count = int(metrics[_COUNT].compute()["samples"])
        for metric in self.metrics.values():
            metric.attach(self.extractors[metric.extractor_name], references.get(metric.extractor_name))
        results: dict[str, Tensor | Estimate] = {}
        for name in self.metrics:
            with LongCall(f"computing {name}", enabled=rank() == 0):
                results |= metrics[name].compute()
        notes = list(dict.fromkeys(note for metric in self.metrics.values() for note in metric.notes(count)))
        conditions = {"samples": count, **self.conditions(references), "quantization": quantization}
        estimates = {name: result for name, result in results.items() if isinstance(result, Estimate)}
        plain = {name: result for name, result in results.items() if isinstance(result, Tensor)}
        return Scores(
            values={
                name: float(result.value if isinstance(result, Estimate) else result)
                for name, result in results.items()
                if name in estimates or plain[name].ndim == 0
            },
            conditions=conditions,
            details={name: result.tolist() for name, result in plain.items() if result.ndim > 0},
            notes=tuple(notes),
            intervals={name: (float(estimate.low), float(estimate.high)) for name, estimate in estimates.items()},
        )

    def conditions(self, references: References) -> dict[str, ScoreCondition]:
        """The conditions of every score besides the samples: reference and extractors."""
        compared = list(references.values())
        return {
            "reference": compared[0].statistics.source if compared else "none",
            "reference_samples": compared[0].statistics.n if compared else 0,
            "extractor": "+".join(extractor.fingerprint for extractor in self.extractors.values()),
            # Reference images are never mirrored, even if training mirrors them.
            "flips": "none",
            "resize": ", ".join(dict.fromkeys(extractor.resize for extractor in self.extractors.values())),
        }

    def _compared_with_data(self) -> list[str]:
        """Names of the extractors whose reference must come from the data set."""
        metrics = self.metrics.values()
        given = {MAIN} if self.statistics_path is not None else set()
        compared = {metric.extractor_name for metric in metrics if metric.needs_reference}
        return [name for name in self.extractors if name in compared - given]
