"""Fréchet distance of features, as a metric of a suite and as a torchmetrics metric.

With Inception features this is FID (Heusel et al. 2017).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from .extractor import FeatureExtractor
from .frechet import frechet_distance
from .frechet_metric import sample_notes
from .scores import Scores
from .statistics import GaussianStatistics, statistics_from_sums


class FrechetDistance(FrechetInceptionDistance):
    """torchmetrics' FID over any extractor, against given statistics, with a stable float64 root.

    ``update(images, real=False)`` takes uint8 images; every process must call ``compute()``. The real side is either
    given as ``reference``, the same on every process, or fed by ``update(images, real=True)``.

    Args:
        extractor: makes the features.
        reference: statistics of the real side.
        kwargs: passed to ``torchmetrics.Metric``.
    """

    def __init__(self, extractor: FeatureExtractor, reference: GaussianStatistics | None = None, **kwargs: Any) -> None:
        super().__init__(feature=_Float64(extractor), reset_real_features=False, **kwargs)
        self.extractor_fingerprint = extractor.fingerprint
        self.resize = extractor.resize
        self.distance_name = extractor.distance_name
        self.reference = reference
        if reference is not None and len(reference.mu) != extractor.num_features:
            raise ValueError(f"reference of {len(reference.mu)} features, extractor of {extractor.num_features}")

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add uint8 images (B, C, H, W) to the real or the generated side."""
        if real and self.reference is not None:
            raise ValueError("the real side is given by its statistics: update with real=False only")
        super().update(imgs, real)

    def compute(self) -> Tensor:
        """The distance, () float64, over the images of all processes; UserError below two images."""
        real, fake = self._sides()
        return torch.tensor(frechet_distance(real, fake), dtype=torch.float64, device=self.device)

    def scores(self, quantisation: str) -> Scores:
        """The distance with what it depends on; to be called by every process.

        Args:
            quantisation: how images became uint8, ``round`` or ``truncate``.
        """
        with self.sync_context():
            real, fake = self._sides()
        return Scores(
            values={self.distance_name: frechet_distance(real, fake)},
            conditions={
                "samples": fake.n,
                "reference": real.source,
                "reference_samples": real.n,
                "extractor": self.extractor_fingerprint,
                "resize": self.resize,
                "quantisation": quantisation,
            },
            notes=tuple(sample_notes(fake.n or 0, len(fake.mu), real)),
        )

    def _sides(self) -> tuple[GaussianStatistics, GaussianStatistics]:
        # Given statistics stay out of the synchronised states, which would add them up over the processes.
        fingerprint = self.extractor_fingerprint
        real = self.reference or statistics_from_sums(
            self.real_features_sum.cpu(),
            self.real_features_cov_sum.cpu(),
            int(self.real_features_num_samples),
            fingerprint,
            "images given as real",
        )
        fake = statistics_from_sums(
            self.fake_features_sum.cpu(),
            self.fake_features_cov_sum.cpu(),
            int(self.fake_features_num_samples),
            fingerprint,
            "generated images",
        )
        return real, fake


class _Float64(nn.Module):
    """The extractor with its features in float64, in which torchmetrics then answers."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_features = extractor.num_features

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.extractor(images)
        return features.double()
