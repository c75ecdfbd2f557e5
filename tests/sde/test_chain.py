"""Discrete VP (DDPM) nets use the noise levels of their Markov chain, not those of the SDE."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.sde import VPSDE, CosineVPSDE, ScoreModel
from src.sde.parametrization import DDPMIndex, SongVP
from src.sde.time_samplers import GridTime
from tests.support.configs import build

STEPS = 1000


def chain(steps: int = STEPS, beta_min: float = 0.1, beta_max: float = 20.0) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma of every step, by the recursion of the chain."""
    product, alphas, sigmas = 1.0, [], []
    for j in range(steps):
        beta = (beta_min + (beta_max - beta_min) * j / (steps - 1)) / steps
        # The recursion sigma^2 <- (1 - beta) sigma^2 + beta avoids the cancellation of 1 - product.
        sigmas.append((1 - beta) * (sigmas[-1] if sigmas else 0.0) + beta)
        product *= 1 - beta
        alphas.append(product)
    return torch.tensor(np.sqrt(alphas)), torch.tensor(np.sqrt(sigmas))


class Predictor(nn.Module):
    """A net whose output depends on its input and its label."""

    def forward(self, u: Tensor, level: Tensor, cond: object = None) -> Tensor:
        return torch.sin(3 * u) + level.reshape(-1, *[1] * (u.ndim - 1)) / 500


@pytest.mark.parametrize(("steps", "betas"), [(STEPS, (0.1, 20.0)), (7, (0.3, 4.0))])
def test_noise_levels_follow_the_chain_recursion(steps: int, betas: tuple[float, float]) -> None:
    sde = VPSDE(beta_min=betas[0], beta_max=betas[1])
    alpha, sigma = sde.chain_marginal(torch.arange(steps, dtype=torch.float64), steps)
    expected_alpha, expected_sigma = chain(steps, *betas)
    torch.testing.assert_close(alpha, expected_alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma, expected_sigma, rtol=1e-12, atol=0)
    single, _ = sde.chain_marginal(torch.tensor(2.0), steps)
    torch.testing.assert_close(single, expected_alpha[2].float(), rtol=1e-6, atol=0)


def test_an_sde_without_a_chain_uses_its_marginals() -> None:
    sde, index = CosineVPSDE(), torch.tensor([0.0, 499.0], dtype=torch.float64)
    alpha, sigma = sde.chain_marginal(index, STEPS)
    t = sde.T * (index + 1) / STEPS
    torch.testing.assert_close((alpha, sigma), (sde.alpha(t), sde.sigma(t)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_score_of_a_discrete_net_uses_the_chain_sigma(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 17, 500, 998, 999])
    t = ((labels + 1).double() / STEPS).to(dtype)
    x = torch.linspace(-2, 2, 12, dtype=dtype).reshape(6, 2)
    score = ScoreModel(Predictor(), VPSDE(), DDPMIndex(), "centered")(x, t)
    sigma = chain()[1][labels][:, None]
    expected = -(torch.sin(3 * x.double()) + labels[:, None] / 500) / sigma
    # float32 rounds t by 6e-8.
    torch.testing.assert_close(score.double(), expected, rtol=1e-6 if dtype == torch.float32 else 1e-10, atol=1e-6)
    # Continuous-time nets use the sigma of the SDE, which differs by 4.9 % at the first label.
    continuous = SongVP()(VPSDE(), t).a_out
    assert abs(float(-1 / continuous[0] / sigma[0]) - 1.0486) < 1e-3


def test_the_loss_is_the_ddpm_loss() -> None:
    """Compare with the original's DDPM loss: the mean over pixels of (net(alpha_i x + sigma_i z, i) - z)^2."""
    objective = build("objective", "ddpm")
    model = ScoreModel(Predictor(), VPSDE(), DDPMIndex(), "centered")
    labels = torch.tensor([0, 3, 700])
    t, weight = GridTime(STEPS, from_zero=False)(VPSDE(), (labels + 0.5) / STEPS)
    assert torch.equal(weight, torch.ones(3))
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    alpha, sigma = (level[labels][:, None] for level in chain())
    noised = alpha * x + sigma * z
    expected = (torch.sin(3 * noised) + labels[:, None] / 500 - z).square().mean(1)
    torch.testing.assert_close(objective.loss(model, x, t.double(), z), expected, rtol=1e-6, atol=0)
