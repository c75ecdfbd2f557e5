"""Every parametrization in conf, and the identities between the predicted quantity and the score."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from src.noise import normal
from src.sde import EDMSDE, SDE, VESDE, VPSDE, ScoreModel, tweedie
from src.sde.flow import FlowSDE
from src.sde.parametrization import Parametrization
from src.sde.prediction import VelocityPrediction, VPrediction, X0Prediction
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore

SUITED: dict[str, SDE] = {"song_ve": VESDE(), "smld": VESDE(), "edm": EDMSDE(), "velocity": FlowSDE()}


class Ideal(nn.Module):
    """Net output for the exact score: the parametrization's equation solved for the output."""

    def __init__(self, score: GaussianScore, parametrization: Parametrization, t: Tensor) -> None:
        super().__init__()
        self.score, self.coefficients, self.t = score, parametrization(score.sde, t), t

    def forward(self, x: Tensor, c_noise: Tensor, cond: None = None) -> Tensor:
        x = x / self.coefficients.a_in
        return (self.score(x, self.t) - self.coefficients.a_skip * x) / self.coefficients.a_out


@pytest.mark.parametrize("name", names("parametrization"))
@pytest.mark.parametrize("fraction", [0.02, 0.5, 1.0])
def test_the_exact_net_output_has_moderate_size(name: str, fraction: float) -> None:
    sde = SUITED.get(name, VPSDE())
    parametrization = build("parametrization", name)
    # SMLD nets are defined only at discrete levels.
    t = sde.T * torch.tensor(round(fraction * 999) / 999 if name == "smld" else fraction, dtype=torch.float64)
    score = GaussianScore(sde)
    model = ScoreModel(Ideal(score, parametrization, t), sde, parametrization, data_range="centered")
    z = normal(0, "z", 0, torch.arange(500), (2,), torch.float64)
    x = sde.alpha(t) * (0.25 + 0.5 * normal(0, "x", 0, torch.arange(500), (2,), torch.float64)) + sde.sigma(t) * z
    torch.testing.assert_close(model(x, t), score(x, t))
    # The predicted quantity has the size of the data or of the noise.
    assert float(model.net(x * model.net.coefficients.a_in, t).square().mean().sqrt()) < 2


@pytest.mark.parametrize("sde", [VPSDE(), FlowSDE()])
def test_predictions_convert_to_the_score(sde: SDE) -> None:
    t = sde.T * torch.tensor([0.05, 0.4, 0.9], dtype=torch.float64)
    x = torch.tensor([[0.3], [-1.1], [0.8]], dtype=torch.float64)
    score = GaussianScore(sde)(x, t)
    alpha, sigma = sde.alpha(t)[:, None], sde.sigma(t)[:, None]
    x0, z = tweedie(sde, x, t, score), -sigma * score
    # dx_t/dt at fixed x_0 and z, by finite differences of alpha and sigma.
    dt = 1e-6
    rates = [(f(t + dt) - f(t - dt))[:, None] / (2 * dt) for f in (sde.alpha, sde.sigma)]
    predictions = {
        X0Prediction(): x0,
        VPrediction(): alpha * z - sigma * x0,
        VelocityPrediction(): rates[0] * x0 + rates[1] * z,
    }
    for parametrization, prediction in predictions.items():
        a_skip, a_out, _, _ = parametrization(sde, t)
        torch.testing.assert_close(a_skip[:, None] * x + a_out[:, None] * prediction, score, rtol=1e-7, atol=1e-9)


def test_flow_velocity_is_the_probability_flow() -> None:
    sde = FlowSDE()
    t = torch.tensor([0.1, 0.7], dtype=torch.float64)
    x = torch.tensor([[0.3], [-1.1]], dtype=torch.float64)
    score = GaussianScore(sde)(x, t)
    noise_minus_data = -t[:, None] * score - tweedie(sde, x, t, score)
    drift = sde.drift(x, t) - 0.5 * sde.diffusion_squared(t)[:, None] * score
    torch.testing.assert_close(drift, noise_minus_data)
