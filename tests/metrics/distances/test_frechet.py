import math

import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance, _compute_fid

from src.metrics import (
    FrechetDistance,
    GaussianStatistics,
    PixelFeatures,
    frechet_distance,
    gaussian_baseline,
    statistics_of,
)
from tests.metrics.examples import attached, score
from tests.support.pairwise import pairwise


def gaussian(mu, sigma):
    return GaussianStatistics(torch.as_tensor(mu).double(), torch.as_tensor(sigma).double(), 10, "f")


def random_gaussian(d, generator):
    root = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return gaussian(torch.randn(d, generator=generator), root @ root.T / d)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_one_dimension_matches_the_closed_form():
    assert frechet_distance(gaussian([1.0], [[4.0]]), gaussian([3.0], [[9.0]])) == pytest.approx(4 + 1, rel=1e-12)


def test_commuting_covariances():
    a, b = torch.rand(20, dtype=torch.float64), torch.rand(20, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))
    distance = frechet_distance(
        gaussian(torch.zeros(20), turn * a @ turn.T), gaussian(torch.ones(20), turn * b @ turn.T)
    )
    assert distance == pytest.approx(20 + float((a.sqrt() - b.sqrt()).square().sum()), rel=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 2])
def test_covariances_of_rank_one(angle):
    u = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    v = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    distance = frechet_distance(
        gaussian(torch.zeros(3), torch.outer(u, u)), gaussian(torch.zeros(3), torch.outer(v, v))
    )
    assert distance == pytest.approx(2 - 2 * abs(math.cos(angle)), abs=1e-14)


def test_zero_to_itself_and_symmetric(generator):
    a, b = random_gaussian(30, generator), random_gaussian(30, generator)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_point_masses():
    assert frechet_distance(gaussian([0.0, 0.0], torch.zeros(2, 2)), gaussian([3.0, 4.0], torch.zeros(2, 2))) == 25


def test_agrees_with_torchmetrics(generator):
    a, b = random_gaussian(64, generator), random_gaussian(64, generator)
    assert frechet_distance(a, b) == pytest.approx(float(_compute_fid(a.mu, a.sigma, b.mu, b.sigma)), rel=1e-6)


def test_fewer_samples_than_features(generator):
    x = torch.randn(9, 100, generator=generator, dtype=torch.float64)
    y = torch.randn(14, 100, generator=generator, dtype=torch.float64) * 2 + 1
    p, q = (x - x.mean(0)) / math.sqrt(8), (y - y.mean(0)) / math.sqrt(13)
    overlap = torch.linalg.matrix_norm(p @ q.T, ord="nuc")
    expected = (x.mean(0) - y.mean(0)).square().sum() + p.square().sum() + q.square().sum() - 2 * overlap
    assert frechet_distance(statistics_of(x, "f"), statistics_of(y, "f")) == pytest.approx(float(expected), rel=1e-10)


def test_invalid_covariances_are_refused():
    with pytest.raises(ValueError, match="negative eigenvalues"):
        frechet_distance(gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), gaussian([0.0, 0.0], torch.eye(2)))
    with pytest.raises(ValueError, match="negative eigenvalues"):
        frechet_distance(gaussian([0.0], [[-1.0]]), gaussian([0.0], [[1.0]]))


@pytest.mark.parametrize(("value", "count", "pixels"), pairwise([0, 37, 255], [200, 500, 50_000], [True, False]))
def test_identical_images(value, count, pixels, held_out, digit_features):
    extractor = PixelFeatures((1, 8, 8)) if pixels else digit_features
    reference = statistics_of(extractor(held_out[0]), extractor.fingerprint)
    one = extractor(torch.full((1, 1, 8, 8), value, dtype=torch.uint8)).expand(count, -1)
    # Point mass: the cross term is zero.
    expected = float((one[0].double() - reference.mu).square().sum() + reference.sigma.trace())
    scores = score(FrechetDistance(parts=2), one, extractor(held_out[0]), extractor)
    assert scores[extractor.distance_name] == pytest.approx(expected, rel=1e-7)


def test_different_feature_counts_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet_distance(gaussian([0.0], [[1.0]]), gaussian([0.0, 0.0], torch.eye(2)))


def test_metric_agrees_with_torchmetrics_on_the_same_features(digits, digit_features):
    real, fake = digits[0], gaussian_baseline(digits[0], 500)
    theirs = FrechetInceptionDistance(feature=digit_features)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = score(FrechetDistance(), digit_features(fake), digit_features(real), digit_features)
    assert ours["frechet_digits"] == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_a_singular_covariance_is_noted(digits):
    pixels = PixelFeatures((1, 8, 8))
    metric = attached(FrechetDistance(), pixels(digits[0][:40]), pixels(digits[0]), pixels)
    assert metric.notes(40) == ["40 samples leave the covariance of 64 features singular"]
