"""Scores of generated images: Fréchet distances, KID, Inception score, precision and recall, classifier reports.

``FrechetDistance`` alone needs torchmetrics, which is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from src.metrics.baseline import gaussian_baseline
from src.metrics.classifier_report import ClassifierReport
from src.metrics.digits import DigitFeatures
from src.metrics.extractor import FeatureExtractor
from src.metrics.feature_metric import FeatureMetric, Measured, Reference
from src.metrics.frechet import frechet_distance
from src.metrics.frechet_metric import Frechet
from src.metrics.inception import InceptionFeatures
from src.metrics.inception_score import InceptionScore
from src.metrics.joined import JoinedFeatures, OfPart
from src.metrics.kid import KernelDistance
from src.metrics.pixel import PixelFeatures
from src.metrics.precision_recall import PrecisionRecall
from src.metrics.reference import reference_statistics
from src.metrics.scores import Scores
from src.metrics.statistics import GaussianStatistics, StatisticsAccumulator, load_statistics, statistics_of
from src.metrics.suite import MetricSuite

if TYPE_CHECKING:
    from src.metrics.fid import FrechetDistance

__all__ = [
    "ClassifierReport",
    "DigitFeatures",
    "FeatureExtractor",
    "FeatureMetric",
    "Frechet",
    "FrechetDistance",
    "GaussianStatistics",
    "InceptionFeatures",
    "InceptionScore",
    "JoinedFeatures",
    "KernelDistance",
    "Measured",
    "MetricSuite",
    "OfPart",
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


def __getattr__(name: str) -> Any:
    if name == "FrechetDistance":
        from src.metrics.fid import FrechetDistance

        return FrechetDistance
    raise AttributeError(f"module {__name__} has no attribute {name}")
