"""Scores of generated images: Fréchet distances, KID, Inception score, precision and recall, classifier reports."""

from .baseline import gaussian_baseline
from .distances.base import FeatureMetric
from .distances.classifier_report import ClassifierReport
from .distances.density_coverage import DensityCoverage
from .distances.frechet import FrechetDistance, frechet_distance
from .distances.inception_score import InceptionScore
from .distances.kid import KernelDistance
from .distances.precision_recall import PrecisionRecall
from .extractors.base import FeatureExtractor
from .extractors.digits import DigitFeatures
from .extractors.dinov2 import DinoFeatures
from .extractors.image_classifier import ClassifierFeatures
from .extractors.inception import InceptionFeatures
from .extractors.pixel import PixelFeatures
from .intervals import Estimate
from .reference.cache import reference_statistics
from .reference.statistics import (
    GaussianStatistics,
    Reference,
    StatisticsAccumulator,
    load_statistics,
    statistics_of,
)
from .scores import Scores
from .suite import MetricSuite

__all__ = [
    "ClassifierFeatures",
    "ClassifierReport",
    "DensityCoverage",
    "DigitFeatures",
    "DinoFeatures",
    "Estimate",
    "FeatureExtractor",
    "FeatureMetric",
    "FrechetDistance",
    "GaussianStatistics",
    "InceptionFeatures",
    "InceptionScore",
    "KernelDistance",
    "MetricSuite",
    "PixelFeatures",
    "PrecisionRecall",
    "Reference",
    "Scores",
    "StatisticsAccumulator",
    "frechet_distance",
    "gaussian_baseline",
    "load_statistics",
    "reference_statistics",
    "statistics_of",
]
