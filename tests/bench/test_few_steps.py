"""Models and distances used by the study of few steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.few_steps.models import Digits, Exact, Rescaled, Swapped
from src.noise import normal
from src.sde import VESDE, tweedie
from tests.support.gaussian import GaussianScore

SDE = VESDE(0.01, 8.0)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def at(sigma: float) -> Tensor:
    return SDE.time_of_log_snr(torch.tensor(-math.log(sigma), dtype=torch.float64))


def test_the_exact_score_denoises_training_images(digits: Digits) -> None:
    exact, z = Exact(SDE, digits.train), normal(0, "z", 0, torch.arange(4), (1, 8, 8))
    x0, t = digits.train[:4], at(0.05)
    x = x0 + 0.05 * z
    torch.testing.assert_close(tweedie(SDE, x, t, exact(x, t)), x0, rtol=0, atol=1e-3)
    # At large noise the denoised image is the mean, up to terms of order 1 / sigma^2.
    far = digits.train.mean(0) + torch.zeros_like(x0)
    torch.testing.assert_close(tweedie(SDE, far, at(8.0), exact(far, at(8.0))), far, rtol=0, atol=0.02)


def test_models_are_swapped_by_noise_level(digits: Digits) -> None:
    one, other = GaussianScore(SDE, mean=0.0), GaussianScore(SDE, mean=1.0)
    swapped, x = Swapped(one, other, 1.0, 4.0), digits.train[:2]
    for sigma, expected in ((0.5, one), (1.01, other), (3.9, other), (4.1, one)):
        assert torch.equal(swapped(x, at(sigma)), expected(x, at(sigma)))


def test_a_rescaled_model_ignores_the_size_of_the_noise(digits: Digits) -> None:
    model, t = Rescaled(GaussianScore(SDE), digits, 0.5), at(2.0)
    away = 2.0 * normal(0, "z", 0, torch.arange(3), (1, 8, 8))
    predictions = [tweedie(SDE, x, t, model(x, t)) for x in (digits.level + c * away for c in (1.0, 1.1, 2.0))]
    for prediction in predictions[1:]:
        torch.testing.assert_close(prediction, predictions[0], rtol=0, atol=1e-4)
    low = at(0.3)
    assert torch.equal(model(away, low), GaussianScore(SDE)(away, low))


def test_distance_and_confidence_of_the_digits(digits: Digits) -> None:
    assert digits.distance(digits.train) < 0.01 < digits.distance(digits.train + 0.1)
    assert float((digits.confidence(digits.train[:200]) > 0.9).float().mean()) > 0.95
