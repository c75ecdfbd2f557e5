import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from src.errors import UserError
from src.metrics import FrechetDistance, PixelFeatures, gaussian_baseline, statistics_of


@pytest.fixture(scope="module")
def sides(digits):
    images, _ = digits
    return images, gaussian_baseline(images, 500)


def test_agrees_with_torchmetrics_on_the_same_features(sides, digit_features):
    real, fake = sides
    theirs = FrechetInceptionDistance(feature=digit_features)
    ours = FrechetDistance(digit_features)
    for metric in (theirs, ours):
        metric.update(real, real=True)
        metric.update(fake[:300], real=False)
        metric.update(fake[300:], real=False)
    assert ours.compute().dtype == torch.float64
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_given_statistics_are_the_same_as_real_images(sides, digit_features):
    real, fake = sides
    live = FrechetDistance(digit_features)
    live.update(real, real=True)
    given = FrechetDistance(digit_features, statistics_of(digit_features(real), digit_features.fingerprint))
    for metric in (live, given):
        metric.update(fake, real=False)
    assert float(given.compute()) == pytest.approx(float(live.compute()), rel=1e-9)
    given.reset()
    given.update(fake[:100], real=False)
    given.update(fake[100:], real=False)
    assert float(given.compute()) == pytest.approx(float(live.compute()), rel=1e-9)
    with pytest.raises(ValueError, match="real=False"):
        given.update(real, real=True)


def test_scores_say_what_they_depend_on(sides):
    real, fake = sides
    pixels = PixelFeatures((1, 8, 8))
    metric = FrechetDistance(pixels, statistics_of(pixels(real), pixels.fingerprint, "digits all"))
    metric.update(fake[:40], real=False)
    scores = metric.scores("round")
    assert scores.values == {"frechet_pixel": float(metric.compute())}
    assert scores.conditions == {
        "samples": 40,
        "reference": "digits all",
        "reference_samples": 1797,
        "extractor": "pixel-1x8x8",
        "resize": "none",
        "quantisation": "round",
    }
    assert scores.notes == ("40 samples leave the covariance of 64 features singular",)
    assert "reference digits all" in str(scores) and "singular" in str(scores)


def test_one_sample_is_refused(sides, digit_features):
    metric = FrechetDistance(digit_features)
    metric.update(sides[0], real=True)
    metric.update(sides[1][:1], real=False)
    with pytest.raises(UserError, match="at least 2"):
        metric.compute()
