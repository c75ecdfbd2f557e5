import json

import pytest
import torch

from src.errors import UserError
from src.metrics import (
    ClassifierReport,
    Frechet,
    KernelDistance,
    MetricSuite,
    PixelFeatures,
    Reference,
    frechet_distance,
    gaussian_baseline,
    statistics_of,
)


@pytest.fixture
def suite(digit_features, tmp_path):
    metrics = {"frechet": Frechet(), "kid": KernelDistance(5, 100), "classes": ClassifierReport()}
    return MetricSuite(digit_features, metrics, cache_dir=tmp_path)


@pytest.fixture
def reference(suite, digits):
    return suite.reference([digits[0]], "digits", "digits all")


@pytest.fixture(scope="module")
def samples(digits):
    return gaussian_baseline(digits[0], 300)


def test_one_pass_serves_every_metric(suite, reference, samples, digit_features):
    for part in samples.split(77):
        suite.update(part)
    scores = suite.compute(reference, quantisation="round")
    generated = statistics_of(digit_features(samples), digit_features.fingerprint)
    assert scores.values["frechet_digits"] == pytest.approx(frechet_distance(reference.statistics, generated), rel=1e-6)
    assert set(scores.values) == {"frechet_digits", "kid", "kid_std", "confident_share", "classes_present"}
    assert sum(scores.details["class_shares"]) == pytest.approx(1)
    assert scores.conditions == {
        "samples": 300,
        "reference": "digits all",
        "reference_samples": 1797,
        "extractor": digit_features.fingerprint,
        "resize": "none",
        "quantisation": "round",
    }
    assert json.loads(json.dumps(scores.as_dict()))["conditions"]["samples"] == 300
    assert "samples 300" in str(scores)


def test_order_batches_and_repeats_do_not_matter(suite, reference, samples):
    index = torch.arange(300)
    suite.update(samples, index)
    expected = suite.compute(reference, quantisation="round").values
    suite.reset()
    order = torch.randperm(300)
    for part in torch.cat([order, order[:20]]).split(64):
        suite.update(samples[part], index[part])
    scores = suite.compute(reference, quantisation="round")
    assert scores.values == pytest.approx(expected, rel=1e-6) and scores.conditions["samples"] == 300


def test_index_for_all_or_none(suite, samples):
    suite.update(samples[:5])
    with pytest.raises(ValueError, match="every batch or of none"):
        suite.update(samples[5:9], torch.arange(4))


def test_statistics_file_as_reference(digit_features, digits, samples, tmp_path):
    statistics_of(digit_features(digits[0]), digit_features.fingerprint, "all").save(tmp_path / "s.npz")
    suite = MetricSuite(digit_features, {"frechet": Frechet()}, statistics_path=tmp_path / "s.npz")
    suite.update(samples)
    scores = suite.compute(suite.reference([], "unused", "unused"), quantisation="round")
    assert scores.conditions["reference"] == "all" and scores.values["frechet_digits"] > 10
    with pytest.raises(UserError, match="kid compare features"):
        MetricSuite(digit_features, {"kid": KernelDistance()}, statistics_path=tmp_path / "s.npz")


def test_what_does_not_fit_is_refused(suite, reference, samples, digits):
    with pytest.raises(UserError, match="0 images"):
        suite.compute(reference, quantisation="round")
    suite.update(samples)
    with pytest.raises(UserError, match="none was given"):
        suite.compute(None, quantisation="round")
    pixels = PixelFeatures((1, 8, 8))
    other = Reference(statistics_of(pixels(digits[0]), pixels.fingerprint))
    with pytest.raises(UserError, match="computed with pixel-1x8x8"):
        suite.compute(other, quantisation="round")


def test_metrics_without_reference_need_none(digit_features, held_out):
    suite = MetricSuite(digit_features, {"classes": ClassifierReport()})
    suite.update(held_out[0])
    assert suite.reference([], "", "") is None
    assert suite.compute(None, quantisation="round").values["classes_present"] == 10
