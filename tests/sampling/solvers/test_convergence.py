"""Orders of convergence on data with known probability flow and marginals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise, normal
from src.sampling import Sampler
from src.sampling.solvers.correctors import NoCorrector
from src.sampling.solvers.exponential.dpm_solver import DPMSolver
from src.sampling.solvers.exponential.dpm_solver_sde import DPMSolverSDE
from src.sampling.solvers.exponential.unipc import UniPC
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.loop import GridSampler
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import AncestralSampling, EulerMaruyama, ReverseDiffusion
from src.sampling.solvers.schedule import KarrasGrid, LogSNRGrid, TimeGrid
from src.sde import EDMSDE, SDE, VESDE, VPSDE, SubVPSDE
from tests.sampling.closed_forms import Impulses
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore
from tests.support.mixture import MixtureScore, probability_flow

SDES: dict[str, tuple[SDE, float]] = {
    "ve": (VESDE(), 0.1),
    "vp": (VPSDE(), 0.1),
    "subvp": (SubVPSDE(), 0.1),
    "edm": (EDMSDE(), 0.02),
}
UNUSED = AddressedNoise(0, torch.zeros(0, dtype=torch.int64))

# UniPC-p has order p + 1 with its corrector; UniPC-3 only order 3, because its first steps have lower order.
ODE_SOLVERS: dict[str, tuple[Callable[[TimeGrid], GridSampler], int]] = {
    "heun": (lambda grid: Heun(grid, denoise=False), 2),
    "dpm_solver_1": (lambda grid: DPMSolver(grid, 1, denoise=False), 1),
    "dpm_solver_2m": (lambda grid: DPMSolver(grid, 2, denoise=False), 2),
    "dpm_solver_3m": (lambda grid: DPMSolver(grid, 3, denoise=False), 3),
    "unipc_1": (lambda grid: UniPC(grid, 1, denoise=False), 2),
    "unipc_2": (lambda grid: UniPC(grid, 2, denoise=False), 3),
    "unipc_3": (lambda grid: UniPC(grid, 3, denoise=False), 3),
}


@cache
def mixture_run(name: str) -> tuple[Tensor, Tensor]:
    """Return start and end of the mixture's probability flow."""
    sde, eps = SDES[name]
    x = sde.prior_sample(normal(0, "prior", 0, torch.arange(8), (2,), torch.float64))
    return x, probability_flow(sde, x, eps)


@pytest.mark.parametrize("solver", ODE_SOLVERS)
@pytest.mark.parametrize("name", SDES)
def test_order_on_a_mixture(name: str, solver: str) -> None:
    (sde, eps), (make, order) = SDES[name], ODE_SOLVERS[solver]
    x, truth = mixture_run(name)
    errors = [
        float((make(LogSNRGrid(steps + 1, eps))(MixtureScore(sde), x, UNUSED).samples - truth).square().mean().sqrt())
        for steps in (60, 120)
    ]
    above = 0.8 if solver == "unipc_3" else 0.3
    assert order - 0.3 < math.log2(errors[0] / errors[1]) < order + above
    assert errors[1] < 0.01 * 4.0 ** (1 - order)


@pytest.mark.parametrize("solver", ODE_SOLVERS)
@pytest.mark.parametrize("name", ["ve", "vp"])
def test_gaussian_flow_on_a_karras_grid(name: str, solver: str) -> None:
    (sde, eps), (make, order) = SDES[name], ODE_SOLVERS[solver]
    x = sde.prior_sample(normal(0, "prior", 0, torch.arange(8), (2,), torch.float64))
    (alpha, alpha_eps), (sigma, sigma_eps) = (
        f(torch.tensor([sde.T, eps], dtype=torch.float64)) for f in (sde.alpha, sde.sigma)
    )
    # Along the flow, (x - alpha m) / std of the marginal is constant.
    ratio = ((alpha_eps**2 / 4 + sigma_eps**2) / (alpha**2 / 4 + sigma**2)).sqrt()
    truth = alpha_eps / 4 + (x - alpha / 4) * ratio
    found = make(KarrasGrid(51, eps))(GaussianScore(sde), x, UNUSED).samples
    torch.testing.assert_close(found, truth, rtol=0, atol=0.1 * 6.0 ** (1 - order))


@pytest.mark.parametrize("solver", ["heun", "dpm_solver_3m", "unipc_3"])
@pytest.mark.parametrize("name", ["ve", "vp"])
def test_single_precision_agrees_with_double(name: str, solver: str) -> None:
    sde, sampler = SDES[name][0], ODE_SOLVERS[solver][0](LogSNRGrid(100, 1e-5))
    sampler.denoise = True
    x = sde.prior_sample(normal(0, "prior", 0, torch.arange(8), (2,), torch.float64))
    exact = sampler(GaussianScore(sde), x, UNUSED).samples
    single = sampler(GaussianScore(sde), x.float(), UNUSED).samples
    assert single.dtype == torch.float32
    # 100 rounding errors of 6e-8, for data of size 1.
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


def final_moments(sampler: Sampler, sde: SDE, draws: int, mean: float = 0.25, std: float = 0.5) -> tuple[float, float]:
    """Return the exact mean and standard deviation on data N(mean, std^2), where a sampler is linear in its noise."""
    z = torch.zeros(draws + 2, 1, dtype=torch.float64)
    z[1] = 1
    alpha, sigma = (f(torch.tensor(sde.T, dtype=torch.float64)) for f in (sde.alpha, sde.sigma))
    start = alpha * mean + (alpha**2 * std**2 + sigma**2).sqrt() * z
    result = sampler(GaussianScore(sde, mean, std), start, Impulses()).samples[:, 0]
    return float(result[0]), float((result[1:] - result[0]).norm())


# Predictors are tested below, on every SDE.
SDE_SOLVERS: dict[str, tuple[Callable[[TimeGrid], GridSampler], int]] = {
    "dpm_solver_sde_1": (lambda grid: DPMSolverSDE(grid, 1, denoise=False), 1),
    "dpm_solver_sde_2m": (lambda grid: DPMSolverSDE(grid, 2, denoise=False), 2),
    "heun_churn": (lambda grid: Heun(grid, s_churn=10.0, denoise=False), 2),
}


@pytest.mark.parametrize("solver", SDE_SOLVERS)
@pytest.mark.parametrize("name", SDES)
def test_moments_of_stochastic_samplers_converge(name: str, solver: str) -> None:
    (sde, eps), (make, order) = SDES[name], SDE_SOLVERS[solver]
    alpha, sigma = (float(f(torch.tensor(eps, dtype=torch.float64))) for f in (sde.alpha, sde.sigma))
    mean, std = alpha / 4, math.sqrt(alpha**2 / 4 + sigma**2)
    (_, coarse), (fine_mean, fine) = (final_moments(make(LogSNRGrid(n + 1, eps)), sde, n) for n in (30, 60))
    assert fine_mean == pytest.approx(mean, abs=3e-3)
    assert fine == pytest.approx(std, abs={1: 0.05, 2: 0.005}[order])
    # At least this order: some errors cancel.
    assert math.log2(abs(coarse - std) / abs(fine - std)) > order - 0.35


PREDICTORS = {
    "reverse_diffusion": ReverseDiffusion(),
    "euler_maruyama": EulerMaruyama(),
    "ancestral": AncestralSampling(),
    "ancestral_posterior": AncestralSampling("posterior"),
}


def predictor_moments(
    sde: SDE, predictor: str, times: int, mean: float = 0.25, std: float = 0.5
) -> tuple[float, float]:
    grid = LogSNRGrid(times, 1e-3 * sde.T)
    sampler = PredictorCorrector(grid, PREDICTORS[predictor], NoCorrector())
    return final_moments(sampler, sde, times, mean, std)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("name", names("sde"))
def test_predictor_errors_decrease_with_the_number_of_steps(name: str, predictor: str) -> None:
    sde = build("sde", name, {"prior_mean": 0.0} if name.startswith("ve") else {})
    errors = {n: predictor_moments(sde, predictor, n) for n in (10, 30, 100)}
    (_, rough), (mean, middle), (fine_mean, fine) = errors.values()
    assert abs(mean - 0.25) < 0.02
    assert abs(fine_mean - 0.25) < 0.006
    assert abs(fine - 0.5) < 0.04 < abs(rough - 0.5)
    assert abs(fine - 0.5) < 0.5 * abs(middle - 0.5) < 0.5 * abs(rough - 0.5)


@pytest.mark.parametrize("times", [10, 30, 100])
@pytest.mark.parametrize("name", names("sde"))
def test_posterior_variance_is_exact_for_a_single_data_point(name: str, times: int) -> None:
    # Then p(x_s | x_t) = p(x_s | x_t, x_0): the chain has the exact marginals for any number of steps.
    sde = build("sde", name, {"prior_mean": 0.0} if name.startswith("ve") else {})
    grid = LogSNRGrid(times, 0.1 * sde.T)
    sampler = PredictorCorrector(grid, AncestralSampling("posterior"), NoCorrector(), denoise=False)
    mean, std = final_moments(sampler, sde, times, mean=0.25, std=0.0)
    end = torch.tensor(0.1 * sde.T, dtype=torch.float64)
    assert mean == pytest.approx(float(sde.alpha(end)) / 4, rel=1e-9)
    assert std == pytest.approx(float(sde.sigma(end)), rel=1e-9)


@pytest.mark.parametrize("times", [10, 30, 100])
def test_ddpm_chain_keeps_unit_variance(times: int) -> None:
    # Ho et al. 2020, sec. 3.2: the variance is exact for data N(0, I), whose marginals all have unit variance.
    assert predictor_moments(VPSDE(), "ancestral", times, 0.0, 1.0) == (0.0, pytest.approx(1.0, abs=2e-3))


def test_ddpm_chain_mean_and_noise_are_consistent() -> None:
    # The original code, on its own grid: 0.498 with 30 steps and 0.4998 with 100.
    for times, within in ((30, 0.015), (100, 0.004)):
        assert predictor_moments(VPSDE(), "ancestral", times)[1] == pytest.approx(0.5, abs=within)
