"""Common behavior of grid samplers: NFE, denoising, trajectory. See also ``test_every_sampler``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise, normal
from src.sampling import SamplerStep
from src.sampling.solvers.correctors import Langevin, NoCorrector
from src.sampling.solvers.exponential.dpm_solver import DPMSolver
from src.sampling.solvers.exponential.dpm_solver_sde import DPMSolverSDE
from src.sampling.solvers.exponential.unipc import UniPC
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.loop import GridSampler
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import NoPredictor, ReverseDiffusion
from src.sampling.solvers.schedule import LogSNRGrid
from src.sde import VESDE
from tests.support.gaussian import GaussianScore

N = 12
GRID = LogSNRGrid(N, 1e-3)
SDE = VESDE()
SAMPLERS: dict[str, Callable[..., GridSampler]] = {
    "pc": lambda **kw: PredictorCorrector(GRID, ReverseDiffusion(), Langevin(), **kw),
    "predictor_first": lambda **kw: PredictorCorrector(
        GRID, ReverseDiffusion(), Langevin(steps=2), corrector_first=False, **kw
    ),
    "heun": lambda **kw: Heun(GRID, s_churn=3.0, **kw),
    "dpm_solver": lambda **kw: DPMSolver(GRID, 3, **kw),
    "dpm_solver_sde": lambda **kw: DPMSolverSDE(GRID, 2, **kw),
    "unipc": lambda **kw: UniPC(GRID, 3, **kw),
}
EVALUATIONS = {
    "pc": 2 * N,
    "predictor_first": 3 * N - 2,
    "heun": 2 * N - 1,
    "dpm_solver": N,
    "dpm_solver_sde": N,
    "unipc": N,
}


def start(index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return SDE.prior_sample(normal(1, "prior", 0, index, (5,), dtype))


@pytest.mark.parametrize("name", SAMPLERS)
def test_nfe_with_and_without_denoising(name: str) -> None:
    index = torch.arange(3)
    for denoise in (True, False):
        out = SAMPLERS[name](denoise=denoise)(GaussianScore(SDE), start(index), AddressedNoise(0, index))
        assert out.nfe.tolist() == [EVALUATIONS[name] - (not denoise)] * 3 and out.nfe.dtype == torch.int64


@pytest.mark.parametrize("name", SAMPLERS)
def test_denoising_returns_the_posterior_mean(name: str) -> None:
    index = torch.arange(3)
    noisy, clean = (
        SAMPLERS[name](denoise=denoise)(GaussianScore(SDE), start(index), AddressedNoise(0, index)).samples
        for denoise in (False, True)
    )
    variance = float(SDE.sigma(torch.tensor(1e-3))) ** 2
    if name != "heun":  # churn adds noise before the last evaluation
        torch.testing.assert_close(clean, (0.25 * noisy + variance * 0.25) / (0.25 + variance), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_and_trajectory_of_every_step(name: str) -> None:
    index, steps = torch.arange(3), list[SamplerStep]()
    sampler = SAMPLERS[name](trajectory_frames=4)
    out = sampler(GaussianScore(SDE), start(index), AddressedNoise(0, index), callback=steps.append)
    assert [step.index for step in steps] == list(range(1, N + 1)) and {step.total for step in steps} == {N}
    assert [float(step.t) for step in steps] == [*GRID(SDE)[1:].tolist(), 0.0]
    assert torch.equal(steps[-1].x, out.samples)
    assert out.trajectory is not None
    assert torch.equal(out.trajectory, torch.stack([steps[i].x_mean for i in (2, 5, 8, 11)]))


def test_a_grid_of_one_time_only_denoises() -> None:
    index = torch.arange(2)
    x = start(index)
    variance = float(SDE.sigma(torch.tensor(1.0))) ** 2
    for sampler in (DPMSolver(LogSNRGrid(1)), PredictorCorrector(LogSNRGrid(1), NoPredictor(), NoCorrector())):
        out = sampler(GaussianScore(SDE), x, AddressedNoise(0, index))
        torch.testing.assert_close(out.samples, (0.25 * x + variance * 0.25) / (0.25 + variance), rtol=0, atol=1e-5)
