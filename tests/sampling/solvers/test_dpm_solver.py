"""Exponential integrators: formulas of their papers, and the quadrature weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling.solvers.correctors import NoCorrector
from src.sampling.solvers.exponential.dpm_solver import DPMSolver
from src.sampling.solvers.exponential.dpm_solver_sde import DPMSolverSDE
from src.sampling.solvers.exponential.multistep import weights
from src.sampling.solvers.exponential.unipc import UniPC
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import AncestralSampling
from src.sampling.solvers.schedule import LinearGrid, LogSNRGrid, TimeGrid
from src.sde import VESDE, VPSDE, SubVPSDE, tweedie
from tests.support.gaussian import GaussianScore

INDEX = torch.arange(4)
Z = normal(0, "prior", 0, INDEX, (3,), torch.float64)


@pytest.mark.parametrize("h", [1e-4, 0.1, 1.0, 8.0])
def test_weights_integrate_polynomials_exactly(h: float) -> None:
    length = torch.tensor(h, dtype=torch.float64)
    # Integrals of tau^k e^(tau - h) over [0, h], k = 0, 1, 2, by series: the closed forms cancel for small h.
    series = [
        sum((-1) ** j * math.factorial(k) * h ** (k + 1 + j) / math.factorial(k + 1 + j) for j in range(80))
        for k in range(3)
    ]
    for nodes in ([0.0, -0.7, -1.1], [0.0, -0.7, 1.0], [0.0, -0.3, -2.0, 1.0]):
        tau = length * torch.tensor(nodes, dtype=torch.float64)
        w = weights(tau, length)
        for k in range(3):
            assert float((w * tau**k).sum()) == pytest.approx(series[k], rel=1e-9)


def test_dpm_solver_2m_matches_algorithm_2_of_the_paper() -> None:
    sde = VPSDE()
    grid, model = LinearGrid(6, 1e-2), GaussianScore(sde)
    times, x, before = grid(sde), sde.prior_sample(Z), None
    alpha, sigma = sde.alpha(times), sde.sigma(times)
    lambdas = (alpha / sigma).log()
    for i in range(1, len(times)):
        h = lambdas[i] - lambdas[i - 1]
        data = tweedie(sde, x, times[i - 1], model(x, times[i - 1]))
        d = data
        if before is not None:
            r = (lambdas[i - 1] - lambdas[i - 2]) / h
            d = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * before
        x, before = sigma[i] / sigma[i - 1] * x - alpha[i] * (torch.exp(-h) - 1) * d, data
    out = DPMSolver(grid, 2, denoise=False)(model, sde.prior_sample(Z), AddressedNoise(0, INDEX))
    torch.testing.assert_close(out.samples, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sde", [VESDE(), SubVPSDE()], ids=["ve", "subvp"])
def test_first_order_sde_solver_is_ancestral_sampling(sde: VESDE | SubVPSDE) -> None:
    def noise(purpose: str, step: int, like: Tensor) -> Tensor:
        return normal(0, "both", step, INDEX, (3,), torch.float64)

    grid, x = LinearGrid(20, 1e-3), sde.prior_sample(Z)
    first = DPMSolverSDE(grid, 1)(GaussianScore(sde), x, noise).samples
    ancestral = PredictorCorrector(grid, AncestralSampling(), NoCorrector())(GaussianScore(sde), x, noise).samples
    torch.testing.assert_close(first, ancestral, rtol=1e-9, atol=1e-9)


def test_unipc_corrector_uses_the_next_evaluation() -> None:
    """Two steps of UniPC-1 (Zhao et al. 2023, with rho = 1/2)."""
    sde = VESDE()
    grid, model = LogSNRGrid(3, 1e-2), GaussianScore(sde)
    times, x0 = grid(sde), sde.prior_sample(Z)
    sigma = sde.sigma(times)
    ratio = sigma[1:] / sigma[:-1]  # e^-h

    def data(x: Tensor, i: int) -> Tensor:
        return tweedie(sde, x, times[i], model(x, times[i]))

    d0 = data(x0, 0)
    predicted = ratio[0] * x0 + (1 - ratio[0]) * d0
    d1 = data(predicted, 1)
    corrected = ratio[0] * x0 + (1 - ratio[0]) * (d0 + d1) / 2
    last = ratio[1] * corrected + (1 - ratio[1]) * d1
    out = UniPC(grid, 1, denoise=False)(model, x0, AddressedNoise(0, INDEX))
    torch.testing.assert_close(out.samples, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [DPMSolver, DPMSolverSDE, UniPC])
def test_invalid_orders_are_refused(make: Callable[[TimeGrid, int], object]) -> None:
    for order in (0, 4):
        with pytest.raises(UserError, match="order"):
            make(LogSNRGrid(), order)
