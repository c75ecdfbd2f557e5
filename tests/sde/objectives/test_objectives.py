"""Objectives: their minimum, every file in conf/objective, weightings, label dropout, and the stable target field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.nets import MLP
from src.nets.classifier import ConvClassifier
from src.noise import Address, normal
from src.sde import EDMSDE, SDE, VESDE, VPSDE, ScoreModel, tweedie
from src.sde.average_velocity import AverageVelocityModel
from src.sde.flow import FlowSDE
from src.sde.noisy_classifier import NoisyClassifier
from src.sde.objectives import Objective
from src.sde.objectives.score_matching import EDMWeighting, PaperWeighting, ScoreMatching, VelocityWeighting
from src.sde.objectives.stf import StableTargetField
from src.sde.parametrization import EDM
from src.sde.prediction import VelocityPrediction
from src.sde.time_samplers import UniformTime
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore


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


OBJECTIVES = names("objective")


def fitting(objective: Objective) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the first kind of model that ``objective`` accepts, and the shape of its data."""
    torch.manual_seed(0)
    net = partial(MLP, dim=4, width=8, depth=1, fourier_log=False, init_scale=1.0)
    kinds: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
        (lambda: ScoreModel(net(), EDMSDE(), EDM(0.5), "centered"), (4,)),
        (lambda: AverageVelocityModel(net(), FlowSDE(), VelocityPrediction(), "centered"), (4,)),
        (lambda: NoisyClassifier(ConvClassifier(in_channels=1, num_classes=3, nf=4), EDMSDE(), "centered"), (1, 8, 8)),
    ]
    for make, shape in kinds:
        model = make()
        with suppress(UserError):
            objective.check(model)
            return model, shape
    raise AssertionError(f"no model for {type(objective).__name__}: add one here")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_finite_differentiable_and_of_one_sample_each(name: str) -> None:
    objective = build("objective", name)
    model, shape = fitting(objective)
    position = torch.arange(6)
    x0, labels = normal(0, "data", 0, position, shape), {"labels": position % 3}
    losses = objective(model, x0, Address(0, 5, position), labels)
    assert losses.shape == (6,) and losses.isfinite().all()
    losses.mean().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in model.parameters())
    if not objective.depends_on_batch:
        whole = objective(model, x0, Address(0, 5, position), labels, train=False)
        half = objective(model, x0[2:4], Address(0, 5, position[2:4]), {"labels": position[2:4] % 3}, train=False)
        torch.testing.assert_close(half, whole[2:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if build("objective", name).learns_score])
def test_the_true_score_has_the_smallest_loss(name: str) -> None:
    objective, index = build("objective", name), torch.arange(1500)
    x0 = 0.25 + 0.5 * normal(0, "data", 0, index, (4,), torch.float64)
    for sde in (VESDE(), VPSDE(), EDMSDE(), FlowSDE()):
        losses = [
            float(objective(Scaled(GaussianScore(sde), f), x0, Address(0, 0, index)).mean()) for f in (0.8, 1, 1.2)
        ]
        assert losses[1] < min(losses[0], losses[2]), type(sde).__name__


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
