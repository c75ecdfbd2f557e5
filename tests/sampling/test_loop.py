"""What samplers on a grid share: evaluations, callback, trajectory, control, addressed noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.noise import AddressedNoise, normal
from src.sampling import Step
from src.sampling.solvers.correctors import Langevin, NoCorrector
from src.sampling.solvers.dpm_solver import DPMSolver
from src.sampling.solvers.dpm_solver_sde import DPMSolverSDE
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.loop import GridSampler
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import NoPredictor, ReverseDiffusion
from src.sampling.solvers.schedule import LogSNRGrid
from src.sampling.solvers.unipc import UniPC
from src.sde import VESDE
from tests.gaussian import GaussianScore

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
def test_evaluations_without_and_with_denoising(name: str) -> None:
    index = torch.arange(3)
    for denoise in (True, False):
        out = SAMPLERS[name](denoise=denoise)(GaussianScore(SDE), start(index), AddressedNoise(0, index))
        assert out.nfe.tolist() == [EVALUATIONS[name] - (not denoise)] * 3 and out.nfe.dtype == torch.int64


@pytest.mark.parametrize("name", SAMPLERS)
def test_denoising_is_the_posterior_mean_of_what_is_left(name: str) -> None:
    index = torch.arange(3)
    noisy, clean = (
        SAMPLERS[name](denoise=denoise)(GaussianScore(SDE), start(index), AddressedNoise(0, index)).samples
        for denoise in (False, True)
    )
    variance = float(SDE.sigma(torch.tensor(1e-3))) ** 2
    if name != "heun":  # its churn raises the noise once more
        torch.testing.assert_close(clean, (0.25 * noisy + variance * 0.25) / (0.25 + variance), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_and_trajectory_see_every_step(name: str) -> None:
    index, steps = torch.arange(3), list[Step]()
    sampler = SAMPLERS[name](trajectory_frames=4)
    out = sampler(GaussianScore(SDE), start(index), AddressedNoise(0, index), callback=steps.append)
    assert [step.index for step in steps] == list(range(1, N + 1)) and {step.total for step in steps} == {N}
    assert [float(step.t) for step in steps] == [*GRID(SDE)[1:].tolist(), 0.0]
    assert torch.equal(steps[-1].x, out.samples)
    assert out.trajectory is not None
    assert torch.equal(out.trajectory, torch.stack([steps[i].x_mean for i in (2, 5, 8, 11)]))


@pytest.mark.parametrize("name", SAMPLERS)
def test_control_holds_after_every_step(name: str) -> None:
    """A control that pins the first coordinate to the marginal of the value 1 is seen in every state."""
    index, steps = torch.arange(3), list[Step]()

    def pin(x: Tensor, x_mean: Tensor, t: Tensor, z: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        known = 1 + SDE.sigma(t) * z() if t > 0 else torch.ones_like(x)
        return torch.cat([known[:, :1], x[:, 1:]], 1), torch.cat([torch.ones_like(x[:, :1]), x_mean[:, 1:]], 1)

    out = SAMPLERS[name]()(
        GaussianScore(SDE), start(index), AddressedNoise(0, index), control=pin, callback=steps.append
    )
    for step in steps:
        assert (step.x_mean[:, 0] == 1).all()
        sigma = float(SDE.sigma(step.t)) if step.t > 0 else 0
        assert ((step.x[:, 0] - 1).abs() <= 6 * sigma).all()
    assert (out.samples[:, 0] == 1).all() and not (out.samples[:, 1:] == 1).any()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    index = torch.tensor([4, 0, 17, 3])
    together = SAMPLERS[name]()(GaussianScore(SDE), start(index, torch.float32), AddressedNoise(0, index)).samples
    for i in range(len(index)):
        one = index[i : i + 1]
        alone = SAMPLERS[name]()(GaussianScore(SDE), start(one, torch.float32), AddressedNoise(0, one)).samples
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_address_is_never_drawn_twice(name: str) -> None:
    drawn: list[tuple[str, int]] = []

    def noise(purpose: str, step: int, like: Tensor) -> Tensor:
        drawn.append((purpose, step))
        return torch.zeros_like(like)

    def touch(x: Tensor, x_mean: Tensor, t: Tensor, z: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        return x + 0 * z(), x_mean

    SAMPLERS[name]()(GaussianScore(SDE), start(torch.arange(2)), noise, control=touch)
    assert drawn and len(drawn) == len(set(drawn))


def test_one_time_is_one_denoising() -> None:
    index = torch.arange(2)
    x = start(index)
    variance = float(SDE.sigma(torch.tensor(1.0))) ** 2
    for sampler in (DPMSolver(LogSNRGrid(1)), PredictorCorrector(LogSNRGrid(1), NoPredictor(), NoCorrector())):
        out = sampler(GaussianScore(SDE), x, AddressedNoise(0, index))
        torch.testing.assert_close(out.samples, (0.25 * x + variance * 0.25) / (0.25 + variance), rtol=0, atol=1e-5)
