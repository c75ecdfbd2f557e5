"""The Fréchet distance as a metric of a suite."""

from __future__ import annotations

from dataclasses import dataclass

from .feature_metric import Measured, Reference
from .frechet import frechet_distance
from .statistics import GaussianStatistics, statistics_of


@dataclass(frozen=True)
class Frechet:
    """Fréchet distance to the reference, named ``fid`` for Inception features, ``frechet_...`` for others."""

    needs_reference = True
    needs_reference_features = False
    min_samples = 2

    def __call__(self, measured: Measured, reference: Reference | None) -> dict[str, float | list[float]]:
        assert reference is not None
        generated = statistics_of(measured.features, measured.extractor.fingerprint, "the samples")
        return {measured.extractor.distance_name: frechet_distance(reference.statistics, generated)}

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        assert reference is not None
        return sample_notes(len(measured.features), measured.extractor.num_features, reference.statistics)


def sample_notes(count: int, num_features: int, reference: GaussianStatistics) -> list[str]:
    """What is wrong with comparing a distance of ``count`` samples with one of more."""
    notes = []
    if count < num_features + 1:
        notes.append(f"{count} samples leave the covariance of {num_features} features singular")
    if reference.fingerprint is None:
        notes.append("the extractor of the reference is unknown")
    return notes
