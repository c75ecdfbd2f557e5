"""Scores of generated images: Fréchet distances, KID, Inception score, precision and recall, classifier reports.

``FrechetDistance`` alone needs torchmetrics, which is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from .baseline import gaussian_baseline
from .classifier_report import ClassifierReport
from .digits import DigitFeatures
from .extractor import FeatureExtractor
from .feature_metric import FeatureMetric, Measured, Reference
from .frechet import frechet_distance
from .frechet_metric import Frechet
from .image_classifier import ClassifierFeatures
from .inception import InceptionFeatures
from .inception_score import InceptionScore
from .joined import JoinedFeatures, OfPart
from .kid import KernelDistance
from .pixel import PixelFeatures
from .precision_recall import PrecisionRecall
from .reference import reference_statistics
from .scores import Scores
from .statistics import GaussianStatistics, StatisticsAccumulator, load_statistics, statistics_of
from .suite import MetricSuite

if TYPE_CHECKING:
    from .fid import FrechetDistance

__all__ = [
    "ClassifierFeatures",
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
        from .fid import FrechetDistance

        return FrechetDistance
    raise AttributeError(f"module {__name__} has no attribute {name}")
