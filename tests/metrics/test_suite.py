import json

import pytest
import torch

from src.errors import UserError
from src.metrics import (
    ClassifierReport,
    DigitFeatures,
    FrechetDistance,
    KernelDistance,
    MetricSuite,
    PixelFeatures,
    PrecisionRecall,
    Reference,
    frechet_distance,
    gaussian_baseline,
    statistics_of,
)


@pytest.fixture
def suite(digit_features, tmp_path):
    metrics = {"frechet": FrechetDistance(), "kid": KernelDistance(5, 100), "classes": ClassifierReport()}
    return MetricSuite(digit_features, metrics, cache_dir=tmp_path)


@pytest.fixture
def reference(suite, digits):
    return suite.reference([digits[0]], "digits", "digits all")


@pytest.fixture(scope="module")
def samples(digits):
    return gaussian_baseline(digits[0], 300)


def test_one_pass_computes_every_metric(suite, reference, samples, digit_features):
    for part in samples.split(77):
        suite.update(part)
    scores = suite.compute(reference, quantization="round")
    generated = statistics_of(digit_features(samples), digit_features.fingerprint)
    assert scores.values["frechet_digits"] == pytest.approx(
        frechet_distance(reference["main"].statistics, generated), rel=1e-6
    )
    assert set(scores.values) == {"frechet_digits", "kid", "kid_std", "confident_share", "classes_present"}
    assert set(scores.intervals) == {"frechet_digits", "kid", "confident_share", "classes_present"}
    assert all(low <= scores.values[name] <= high for name, (low, high) in scores.intervals.items())
    low, high = scores.intervals["frechet_digits"]
    assert f"frechet_digits {scores.values['frechet_digits']:.4g} ({low:.4g} to {high:.4g})" in str(scores)
    assert scores.flat()["frechet_digits_high"] == high
    assert sum(scores.details["class_shares"]) == pytest.approx(1)
    assert scores.conditions == {
        "samples": 300,
        "reference": "digits all",
        "reference_samples": 1797,
        "extractor": digit_features.fingerprint,
        "flips": "none",
        "resize": "none",
        "quantization": "round",
    }
    assert json.loads(json.dumps(scores.as_dict()))["conditions"]["samples"] == 300
    assert str(scores).endswith("; protocol: frechet_digits 300 · digits · digits all · no flips · round")


def test_scores_do_not_depend_on_order_batches_and_repeats(suite, reference, samples):
    index = torch.arange(300)
    suite.update(samples, index)
    expected = suite.compute(reference, quantization="round").values
    suite.reset()
    order = torch.randperm(300)
    for part in torch.cat([order, order[:20]]).split(64):
        suite.update(samples[part], index[part])
    scores = suite.compute(reference, quantization="round")
    assert scores.values == pytest.approx(expected, rel=1e-6) and scores.conditions["samples"] == 300


def test_images_without_an_index_are_all_counted(suite, reference, samples):
    suite.update(samples[:5])
    suite.update(samples[:5])
    suite.update(samples[:5], torch.arange(5))
    assert suite.compute(reference, quantization="round").conditions["samples"] == 15


def test_reset_removes_earlier_images(suite, reference, samples):
    suite.update(samples[:200], torch.arange(200))
    suite.compute(reference, quantization="round")
    suite.reset()
    suite.update(samples[200:], torch.arange(100))
    again = suite.compute(reference, quantization="round")
    suite.reset()
    suite.update(samples[200:], torch.arange(100))
    assert again == suite.compute(reference, quantization="round") and again.conditions["samples"] == 100


def noise(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)


def scores(tmp_path, extractor, metrics, others=None):
    suite = MetricSuite(extractor, metrics, others, cache_dir=tmp_path)
    reference = suite.reference(iter([noise(150, 0)]), "data", "noise")
    suite.update(noise(120, 1))
    return suite.compute(reference, quantization="round").values


class Counting(DigitFeatures):
    calls = 0

    def features(self, images):
        self.calls += 1
        return super().features(images)


def test_several_extractors_score_like_each_alone_and_run_once_per_batch(tmp_path):
    digits, pixels = Counting(), PixelFeatures((1, 8, 8))
    metrics = {"a": FrechetDistance(features="pixel"), "b": FrechetDistance(), "c": PrecisionRecall()}
    metrics |= {"d": PrecisionRecall(features="pixel"), "e": ClassifierReport()}
    together = scores(tmp_path, digits, metrics, {"pixel": pixels})
    assert digits.calls == 2  # the reference and the samples
    of_digits = scores(
        tmp_path, DigitFeatures(), {"b": FrechetDistance(), "c": PrecisionRecall(), "e": ClassifierReport()}
    )
    of_pixels = scores(tmp_path, pixels, {"a": FrechetDistance(), "d": PrecisionRecall()})
    of_pixels = {name if name.endswith("pixel") else f"{name}_pixel": value for name, value in of_pixels.items()}
    assert together == pytest.approx({**of_digits, **of_pixels}, rel=1e-9)
    assert set(together) >= {"frechet_pixel", "frechet_digits", "precision", "precision_pixel"}


def test_features_are_kept_once_per_extractor(suite, samples):
    suite.update(samples)
    assert len({id(metric.features) for metric in suite.metrics.values()}) == 1


def test_an_unknown_extractor_is_refused():
    with pytest.raises(UserError, match="metric x has features=digits: choose one of main"):
        MetricSuite(PixelFeatures((1, 8, 8)), {"x": FrechetDistance(features="digits")})


def test_statistics_file_as_reference(digit_features, digits, samples, tmp_path):
    statistics_of(digit_features(digits[0]), digit_features.fingerprint, "all").save(tmp_path / "s.npz")
    suite = MetricSuite(digit_features, {"frechet": FrechetDistance()}, statistics_path=tmp_path / "s.npz")
    suite.update(samples)
    scores = suite.compute(suite.reference([], "unused", "unused"), quantization="round")
    assert scores.conditions["reference"] == "all" and scores.values["frechet_digits"] > 10
    with pytest.raises(UserError, match="kid compare features"):
        MetricSuite(digit_features, {"kid": KernelDistance()}, statistics_path=tmp_path / "s.npz")


def test_missing_images_and_wrong_references_are_refused(suite, reference, samples, digits):
    with pytest.raises(UserError, match="0 images"):
        suite.compute(reference, quantization="round")
    suite.update(samples)
    with pytest.raises(UserError, match="need a reference"):
        suite.compute({}, quantization="round")
    pixels = PixelFeatures((1, 8, 8))
    other = Reference(statistics_of(pixels(digits[0]), pixels.fingerprint))
    with pytest.raises(UserError, match="computed with pixel-1x8x8"):
        suite.compute({"main": other}, quantization="round")


def test_metrics_without_reference_need_none(digit_features, held_out):
    suite = MetricSuite(digit_features, {"classes": ClassifierReport()})
    suite.update(held_out[0])
    assert suite.reference([], "", "") == {} and not suite.needs_reference
    assert suite.compute({}, quantization="round").values["classes_present"] == 10
