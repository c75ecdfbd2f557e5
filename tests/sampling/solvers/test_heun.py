"""Heun compared with EDM's algorithm 2 for alpha = 1, sigma = t; churn."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.schedule import KarrasGrid
from src.sde import EDMSDE, VESDE, VPSDE, tweedie
from tests.support.gaussian import GaussianScore

STEPS, SIGMA_MIN, SIGMA_MAX, RHO = 18, 0.002, 80.0, 7


def algorithm_2(x: Tensor, z: Tensor, s_churn: float, s_min: float, s_max: float, s_noise: float) -> Tensor:
    """Karras et al. 2022, algorithm 2 with eq. 5; z (N, B, d) is the noise of each step."""
    sde = EDMSDE()

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        t = torch.tensor(sigma, dtype=torch.float64)
        return tweedie(sde, x, t, GaussianScore(sde)(x, t))

    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    levels = [(high + i / (STEPS - 1) * (low - high)) ** RHO for i in range(STEPS)] + [0.0]
    for i, (t, t_next) in enumerate(pairwise(levels)):
        gamma = min(s_churn / STEPS, math.sqrt(2) - 1) if s_min <= t <= s_max else 0
        t_hat = t + gamma * t
        x_hat = x + math.sqrt(t_hat**2 - t**2) * s_noise * z[i]
        d = (x_hat - denoiser(x_hat, t_hat)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if t_next > 0:
            d_next = (x - denoiser(x, t_next)) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_next) / 2
    return x


@pytest.mark.parametrize("churn", [(0.0, 0.0, math.inf, 1.0), (30.0, 0.05, 50.0, 1.003), (4.0, 0.0, 60.0, 1.01)])
def test_heun_matches_edm_algorithm_2(churn: tuple[float, float, float, float]) -> None:
    x = EDMSDE().prior_sample(normal(0, "prior", 0, torch.arange(4), (3,), torch.float64))
    z = torch.stack([normal(0, "z", i, torch.arange(4), (3,), torch.float64) for i in range(STEPS)])
    sampler = Heun(KarrasGrid(STEPS, SIGMA_MIN, float(RHO)), *churn)
    out = sampler(GaussianScore(EDMSDE()), x, lambda purpose, step, like: z[step])
    torch.testing.assert_close(out.samples, algorithm_2(x, z, *churn), rtol=1e-9, atol=1e-9)
    assert out.nfe.tolist() == [2 * STEPS - 1] * 4


@pytest.mark.parametrize("sde", [VESDE(), VPSDE()], ids=["ve", "vp"])
def test_churn_stays_within_the_end_time(sde: VESDE | VPSDE) -> None:
    times: list[float] = []

    class Spy(GaussianScore):
        def __call__(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
            times.append(float(t))
            return super().__call__(x, t)

    index = torch.arange(2000)
    x = sde.prior_sample(normal(0, "prior", 0, index, (2,)))
    out = Heun(KarrasGrid(40, 1e-3), s_churn=40.0)(Spy(sde), x, AddressedNoise(0, index))
    assert max(times) <= sde.T
    assert float(out.samples.mean()) == pytest.approx(0.25, abs=0.03)
    assert float(out.samples.std()) == pytest.approx(0.5, abs=0.03)


def test_negative_churn_is_refused() -> None:
    with pytest.raises(UserError, match="s_churn"):
        Heun(KarrasGrid(), s_churn=-1.0)
