"""What a classifier finds in samples: the share it recognizes, and whether every class occurs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..intervals import Estimate, wilson_interval
from .base import MAIN, FeatureMetric


class ClassifierReport(FeatureMetric):
    """The share of confidently classified samples, the number of classes present, and the share of every class.

    The share has Wilson's interval. The ends of the interval of the number of classes count the classes whose own
    interval reaches ``presence``.

    Args:
        confidence: a sample is recognized if its largest probability exceeds this value.
        presence: a class is present if at least this share of all samples is recognized as it.
        features: name of the extractor, which must be a classifier.
    """

    higher_is_better = True

    def __init__(self, confidence: float = 0.9, presence: float = 0.01, features: str = MAIN) -> None:
        super().__init__(features)
        self.confidence = confidence
        self.presence = presence

    def compute(self) -> dict[str, Tensor | Estimate]:
        probabilities = self.probabilities()
        largest, label = probabilities.max(dim=1)
        sure = largest > self.confidence
        classes, count = probabilities.shape[1], len(probabilities)
        recognized = [wilson_interval(sure & (label == k)) for k in range(classes)]
        present = (torch.stack(bounds) >= self.presence for bounds in zip(*recognized, strict=True))
        return {
            self.named("confident_share"): wilson_interval(sure),
            self.named("classes_present"): Estimate(*(every.sum().double() for every in present)),
            self.named("class_shares"): label.bincount(minlength=classes).double() / count,
        }

    def notes(self, count: int) -> list[str]:
        return [f"confident means a largest probability over {self.confidence:g}"]
