"""What a classifier makes of samples: how many look like a class at all, and whether every class occurs."""

from __future__ import annotations

from dataclasses import dataclass

from .feature_metric import Measured, Reference


@dataclass(frozen=True)
class ClassifierReport:
    """Share of samples that the classifier is sure of, number of classes present, and the share of every class.

    Args:
        confidence: a sample counts as recognised when its largest probability is above this.
        presence: a class is present when at least this share of all samples is recognised as it.
    """

    confidence: float = 0.9
    presence: float = 0.01

    needs_reference = False
    needs_reference_features = False
    min_samples = 2

    def __call__(self, measured: Measured, reference: Reference | None) -> dict[str, float | list[float]]:
        probabilities = measured.probabilities()
        largest, label = probabilities.max(dim=1)
        sure = largest > self.confidence
        classes, count = probabilities.shape[1], len(probabilities)
        recognised = label[sure].bincount(minlength=classes).double() / count
        return {
            "confident_share": float(sure.double().mean()),
            "classes_present": float((recognised >= self.presence).sum()),
            "class_shares": (label.bincount(minlength=classes).double() / count).tolist(),
        }

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        return [f"confident means a largest probability over {self.confidence:g}"]
