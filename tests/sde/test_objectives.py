"""Objectives: their minimum, every file in conf/objective, weightings, label dropout, and the stable target field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import Address, normal
from src.sde import EDMSDE, SDE, VESDE, VPSDE, tweedie
from src.sde.flow import FlowSDE
from src.sde.objectives.score_matching import EDMWeighting, PaperWeighting, ScoreMatching, VelocityWeighting
from src.sde.objectives.stf import StableTargetField
from src.sde.time_samplers import UniformTime
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore

SUITED: dict[str, SDE] = {"ddpm": VPSDE(), "edm": EDMSDE(), "stf": EDMSDE(), "flow": FlowSDE()}


@dataclass(frozen=True)
class Scaled:
    """Score multiplied by ``factor``."""

    of: GaussianScore
    factor: float

    @property
    def sde(self) -> SDE:
        return self.of.sde

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.factor * self.of(x, t)


@dataclass(frozen=True)
class Empirical:
    """Exact score of a finite data set (K, d)."""

    sde: SDE
    data: Tensor

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = self.sde.alpha(t)[:, None], self.sde.sigma(t)[:, None]
        toward = alpha[..., None] * self.data - x[:, None]
        posterior = (-0.5 * (toward.norm(dim=2) / sigma) ** 2).softmax(1)
        return (posterior[..., None] * toward).sum(1) / sigma**2


# Objectives that are minimal at the score: not those of classifiers, flow maps and coupled noise.
SCORE_OBJECTIVES = [
    name for name in names("objective") if name not in ("noisy_classification", "ect", "meanflow", "flow_ot")
]


@pytest.mark.parametrize("name", SCORE_OBJECTIVES)
def test_the_true_score_has_the_smallest_loss(name: str) -> None:
    objective, sde = build("objective", name), SUITED.get(name, VESDE())
    index = torch.arange(1500)
    x0 = 0.25 + 0.5 * normal(0, "data", 0, index, (4,), torch.float64)
    score = GaussianScore(sde)
    address = Address(0, 0, index)
    losses = {f: float(objective(Scaled(score, f), x0, address).mean()) for f in (0.8, 1.0, 1.2)}
    assert losses[1.0] < losses[0.8] and losses[1.0] < losses[1.2]


def test_edm_weighting_gives_the_weighted_denoising_error() -> None:
    sde, index = EDMSDE(), torch.arange(6)
    x0, z = (normal(0, purpose, 0, index, (3,), torch.float64) for purpose in ("data", "z"))
    t = torch.tensor([0.002, 0.02, 0.3, 1, 10, 80], dtype=torch.float64)
    model = Scaled(GaussianScore(sde), 0.9)
    objective = ScoreMatching(UniformTime(), EDMWeighting(0.5), "mean")
    x = x0 + t[:, None] * z
    denoised = tweedie(sde, x, t, model(x, t))
    expected = (t**2 + 0.25) / (t * 0.5) ** 2 * (denoised - x0).square().mean(1)
    torch.testing.assert_close(objective.loss(model, x0, t, z), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sde", [FlowSDE(), VPSDE()], ids=["flow", "vp"])
def test_velocity_weighting_gives_the_velocity_error(sde: SDE) -> None:
    index = torch.arange(4)
    x0, z = (normal(0, purpose, 0, index, (3,), torch.float64) for purpose in ("data", "z"))
    t = torch.tensor([0.01, 0.3, 0.7, 0.95], dtype=torch.float64)
    model = Scaled(GaussianScore(sde), 0.9)
    dt = 1e-6
    rates = [(f(t + dt) - f(t - dt))[:, None] / (2 * dt) for f in (sde.alpha, sde.sigma)]
    x = sde.alpha(t)[:, None] * x0 + sde.sigma(t)[:, None] * z
    score = model(x, t)
    estimate = rates[0] * tweedie(sde, x, t, score) - rates[1] * sde.sigma(t)[:, None] * score
    expected = (estimate - rates[0] * x0 - rates[1] * z).square().mean(1)
    found = ScoreMatching(UniformTime(), VelocityWeighting(), "mean").loss(model, x0, t, z)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_labels_are_dropped_in_training_only() -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Spy(GaussianScore):
        def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
            assert cond is not None
            seen.append(cond["labels"])
            return super().__call__(x, t)

    objective = ScoreMatching(UniformTime(), PaperWeighting(), label_dropout=0.3, null_label=10)
    labels = torch.arange(2000) % 10
    address, x0 = Address(0, 0, torch.arange(2000)), torch.zeros(2000, 1)
    objective(Spy(VESDE()), x0, address, {"labels": labels})
    objective(Spy(VESDE()), x0, address, {"labels": labels}, train=False)
    dropped = seen[0] == 10
    assert float(dropped.double().mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(seen[0][~dropped], labels[~dropped]) and torch.equal(seen[1], labels)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match="reduction"):
        ScoreMatching(UniformTime(), PaperWeighting(), "median")
    with pytest.raises(UserError, match="null_label"):
        ScoreMatching(UniformTime(), PaperWeighting(), label_dropout=0.1)


@pytest.mark.parametrize("sde", [VESDE(), VPSDE(), EDMSDE()], ids=["ve", "vp", "edm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stable_target_is_exact_if_the_reference_is_the_whole_data_set(sde: SDE, dtype: torch.dtype) -> None:
    data = normal(0, "data", 0, torch.arange(50), (8,), torch.float64)
    t = sde.T * torch.tensor([1e-3, 0.03, 0.3, 0.6, 1.0], dtype=torch.float64)
    x0, z = data[:5], normal(0, "z", 0, torch.arange(5), (8,), torch.float64)
    mean, std = sde.marginal(x0, t)
    x_t = mean + std[:, None] * z
    objective = StableTargetField(UniformTime(), PaperWeighting())
    objective.set_reference(lambda batch: data.to(batch))
    found = objective.target(sde, x0.to(dtype), x_t.to(dtype), t.to(dtype), z.to(dtype))
    expected = std[:, None] * Empirical(sde, data)(x_t, t)
    # float32: x_t has a rounding error of 1e-7 max |x_t|, divided by sigma, at least 0.01.
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    assert found.dtype == dtype


def test_stable_target_has_less_variance_and_little_bias() -> None:
    sde, index = EDMSDE(), torch.arange(2048)
    x0 = 0.25 + 0.5 * normal(0, "data", 0, index, (2,), torch.float64)
    z = normal(0, "z", 0, index, (2,), torch.float64)
    t = torch.full((2048,), 0.7, dtype=torch.float64)
    x_t = x0 + 0.7 * z
    truth = 0.7 * GaussianScore(sde)(x_t, t)
    stable = StableTargetField(UniformTime(), PaperWeighting()).target(sde, x0, x_t, t, z)
    assert float((stable - truth).var()) < 0.05 * float((-z - truth).var())
    assert float((stable - truth).mean()) == pytest.approx(0, abs=0.03)


def test_stable_target_does_not_overflow_at_small_noise() -> None:
    sde = VESDE()
    x0 = normal(0, "data", 0, torch.arange(4), (3, 32, 32))
    z = normal(0, "z", 0, torch.arange(4), (3, 32, 32))
    t = torch.full((4,), 1e-5)
    x_t = x0 + sde.sigma(t)[:, None, None, None] * z
    found = StableTargetField(UniformTime(), PaperWeighting()).target(sde, x0, x_t, t, z)
    # At the smallest noise level the posterior is concentrated on the own image; x_t / sigma has a rounding error of
    # 1e-4.
    torch.testing.assert_close(found, -z, rtol=0, atol=2e-4)
