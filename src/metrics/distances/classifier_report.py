"""What a classifier says of samples: how many it recognizes, and whether every class occurs."""

from __future__ import annotations

from torch import Tensor

from .base import MAIN, FeatureMetric


class ClassifierReport(FeatureMetric):
    """Share of samples that the classifier is sure of, number of classes present, and the share of every class.

    Args:
        confidence: a sample counts as recognized when its largest probability is above this.
        presence: a class is present when at least this share of all samples is recognized as it.
        features: name of the extractor, which must be a classifier.
    """

    higher_is_better = True

    def __init__(self, confidence: float = 0.9, presence: float = 0.01, features: str = MAIN) -> None:
        super().__init__(features)
        self.confidence = confidence
        self.presence = presence

    def compute(self) -> dict[str, Tensor]:
        probabilities = self.probabilities()
        largest, label = probabilities.max(dim=1)
        sure = largest > self.confidence
        classes, count = probabilities.shape[1], len(probabilities)
        recognized = label[sure].bincount(minlength=classes).double() / count
        return {
            self.named("confident_share"): sure.double().mean(),
            self.named("classes_present"): (recognized >= self.presence).sum().double(),
            self.named("class_shares"): label.bincount(minlength=classes).double() / count,
        }

    def notes(self, count: int) -> list[str]:
        return [f"confident means a largest probability over {self.confidence:g}"]
