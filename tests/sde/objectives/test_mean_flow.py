"""MeanFlow on Gaussian data: the gradient vanishes at the exact average velocity, and samples of it are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.nets.mlp import MLP
from src.noise import AddressedNoise, normal
from src.sampling.solvers.mean_flow import EvenGrid, MeanFlowSampler
from src.sde import EDMSDE, FlowSDE, ScoreModel
from src.sde.average_velocity import AverageVelocityModel
from src.sde.objectives.mean_flow import MeanFlow
from src.sde.parametrization import EDM
from src.sde.prediction import VelocityPrediction, VPrediction
from src.sde.time_samplers import LogNormalSigma
from tests.support.gaussian import GaussianAverageVelocity

SDE = FlowSDE()
TIMES = LogNormalSigma(-0.5, 1.0)


def objective(**settings: float) -> MeanFlow:
    return MeanFlow(TIMES, TIMES, **{"power": 0.0, **settings})  # type: ignore[arg-type] # all are numbers


def quadrature(mean: float, std: float, count: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes x0 and z (N, 1) and weights (N,) of a Gauss-Hermite quadrature over data and noise."""
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(count))
    weights = weights / weights.sum()
    x0, z = (grid.reshape(-1, 1) for grid in torch.meshgrid(mean + std * nodes, nodes, indexing="ij"))
    return x0, z, (weights[:, None] * weights).flatten()


def slope(std: float, r: float, t: float) -> float:
    """Return d loss / d std for the average velocity's only parameter; the data have standard deviation 0.5."""
    x0, z, weights = quadrature(0.25, 0.5)
    parameter = torch.tensor(std, dtype=torch.float64, requires_grad=True)
    model = GaussianAverageVelocity(SDE, std=parameter)  # type: ignore[arg-type] # a number that has a gradient
    times = (torch.full((len(x0),), time, dtype=torch.float64) for time in (r, t))
    (gradient,) = torch.autograd.grad((weights * objective().loss(model, x0, *times, z)).sum(), parameter)
    return float(gradient)


@pytest.mark.parametrize(("r", "t"), [(0.0, 0.999), (0.1, 0.4), (0.5, 0.9), (0.3, 0.3)])
def test_the_gradient_vanishes_at_the_exact_average_velocity(r: float, t: float) -> None:
    below, exact, above = (slope(std, r, t) for std in (0.3, 0.5, 0.8))
    assert below < 0 < above
    assert abs(exact) < 1e-5 * min(-below, above)


@dataclass(frozen=True)
class TwoFields(GaussianAverageVelocity):
    """Velocity ``amount`` times the guided field for label 0, and an unconditional Gaussian field for label 1 (no
    label).
    """

    amount: Tensor | float = 1.0

    def average_velocity(self, x: Tensor, r: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        assert cond is not None
        field = super().average_velocity(x, r, t)
        nothing = GaussianAverageVelocity(SDE, mean=-0.5, std=1.0).average_velocity(x, r, t)
        return torch.where(cond["labels"][:, None] == 0, self.amount * (3 * field - 2 * nothing), nothing)


@pytest.mark.parametrize(("guidance", "mixing"), [(3.0, 0.0), (1.5, 0.5)])
def test_with_guidance_the_gradient_vanishes_at_the_guided_field(guidance: float, mixing: float) -> None:
    """Both settings have the scale omega / (1 - kappa) = 3; samples without label use the plain field."""
    x0, z, weights = quadrature(0.25, 0.5)
    t = torch.full((len(x0),), 0.6, dtype=torch.float64)
    made = MeanFlow(TIMES, TIMES, 1.0, 0.0, 1e-3, guidance, mixing, label_dropout=0.1, null_label=1)
    slopes = []
    for amount in (0.8, 1.0, 1.2):
        parameter = torch.tensor(amount, dtype=torch.float64, requires_grad=True)
        loss = made.loss(TwoFields(SDE, amount=parameter), x0, t, t, z, {"labels": torch.zeros(len(x0))})
        slopes += torch.autograd.grad((weights * loss).sum(), parameter)
    assert abs(slopes[1]) < 1e-9 and slopes[0] < -1e-3 and slopes[2] > 1e-3
    plain, without = GaussianAverageVelocity(SDE), {"labels": torch.ones(len(x0))}
    torch.testing.assert_close(made.loss(plain, x0, t, t, z, without), objective().loss(plain, x0, t, t, z))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_samples_of_the_exact_average_velocity_match_the_flow_map(steps: int) -> None:
    index = torch.arange(5)
    x = normal(0, "prior", 0, index, (3,), torch.float64)
    out = MeanFlowSampler(EvenGrid(steps))(GaussianAverageVelocity(SDE), x, AddressedNoise(0, index))
    left = 1 - SDE.T
    expected = 0.25 + 0.5 * (x - left * 0.25) / (left**2 * 0.25 + SDE.T**2) ** 0.5
    torch.testing.assert_close(out.samples, expected, rtol=0, atol=1e-9)
    assert out.nfe.tolist() == [steps] * 5


def mlp(**settings: object) -> MLP:
    torch.manual_seed(0)
    net = MLP(dim=2, width=16, depth=1, init_scale=1.0, **{"fourier_log": False, **settings})  # type: ignore[arg-type] # mixed
    return net.double()


def model() -> AverageVelocityModel:
    made = AverageVelocityModel(mlp(), SDE, VelocityPrediction(1.0), "centered").double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    made.check()
    return made


def test_the_score_over_an_interval_matches_the_average_velocity() -> None:
    made, x = model(), normal(0, "x", 0, torch.arange(4), (2,), torch.float64)
    t, r = torch.tensor([0.2, 0.5, 0.7, 0.999]).double(), torch.tensor([0.1, 0.5, 0.0, 0.0]).double()
    velocity = SDE.drift(x, t) - SDE.diffusion_squared(t)[:, None] / 2 * made(x, t, {"until": r})
    torch.testing.assert_close(velocity, made.average_velocity(x, r, t), rtol=0, atol=1e-9)
    assert not torch.allclose(made(x, t, {"until": r}), made(x, t))
    torch.testing.assert_close(made(x, t, {"until": t}), made(x, t))


def test_an_untrained_interval_embedding_does_not_change_the_output() -> None:
    x, t = normal(0, "x", 0, torch.arange(4), (2,), torch.float64), torch.tensor([0.2, 0.5, 0.7, 0.9]).double()
    plain = ScoreModel(mlp(), SDE, VelocityPrediction(1.0), "centered")
    told = AverageVelocityModel(mlp(), SDE, VelocityPrediction(1.0), "centered").double()
    # The embedding is initialized with weights of 1e-10, not zero.
    torch.testing.assert_close(told(x, t, {"until": 0 * t}), plain(x, t), rtol=0, atol=1e-4)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match="model=average_velocity"):
        objective().check(ScoreModel(mlp(), SDE, VelocityPrediction(), "centered"))
    with pytest.raises(UserError, match="parametrization=velocity"):
        AverageVelocityModel(mlp(), SDE, VPrediction(), "centered").check()
    with pytest.raises(UserError, match="parametrization=velocity"):
        AverageVelocityModel(mlp(), EDMSDE(), EDM(), "centered").check()
    with pytest.raises(UserError, match=r"net\.fourier_log=false"):
        AverageVelocityModel(mlp(fourier_log=True), SDE, VelocityPrediction(), "centered")
    for settings in ({"different": 2.0}, {"power": -1.0}, {"c": 0.0}, {"mixing": 1.0}, {"guidance": 0.0}):
        with pytest.raises(UserError, match=next(iter(settings))):
            objective(**settings)
    with pytest.raises(UserError, match="label_dropout"):
        objective(guidance=2.0)
