import torch

from src.metrics import ClassifierReport, gaussian_baseline
from tests.metrics.examples import score


def test_counts_classes_and_confidence():
    probabilities = torch.tensor([[0.95, 0.05, 0], [0.5, 0.5, 0], [0, 0.99, 0.01], [0.05, 0.8, 0.15]])
    report = score(ClassifierReport(), probabilities.log())
    assert report == {"confident_share": 0.5, "classes_present": 2.0, "class_shares": [0.5, 0.5, 0.0]}


def test_confident_share_is_high_for_digits_only(digits, held_out, digit_features):
    def share(images):
        return score(ClassifierReport(), digit_features(images), extractor=digit_features)["confident_share"]

    assert share(held_out[0]) > 0.95
    assert share(gaussian_baseline(digits[0], 500)) < 0.15
