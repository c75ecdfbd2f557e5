"""DDIM compared with diffusers; SDE-DPM-Solver++(3M) and 2S ancestral with k-diffusion's formulas; same noise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling.solvers.exponential.ddim import DDIM
from src.sampling.solvers.exponential.dpm_solver_2s_ancestral import DPMSolver2SAncestral
from src.sampling.solvers.exponential.dpm_solver_3m_sde import DPMSolver3MSDE
from src.sampling.solvers.schedule import LinearGrid, LogSNRGrid
from src.sde import EDMSDE, VPSDE, tweedie
from tests.support.gaussian import GaussianScore

INDEX = torch.arange(4)
Z = normal(0, "prior", 0, INDEX, (3,), torch.float64)
NOISE = AddressedNoise(0, INDEX)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_matches_diffusers(eta: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    sde, steps = VPSDE(), 12
    grid, model = LinearGrid(steps, 1e-2), GaussianScore(sde)
    times = grid(sde)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=steps, clip_sample=False, set_alpha_to_one=False)
    scheduler.alphas_cumprod = sde.alpha(times).square().flip(0)
    scheduler.set_timesteps(steps)
    x = sde.prior_sample(Z)
    for i in range(steps - 1):
        predicted = -sde.sigma(times[i]) * model(x, times[i])
        noise = NOISE("solver", i, x) if eta else None
        x = scheduler.step(predicted, steps - 1 - i, x, eta=eta, variance_noise=noise).prev_sample
    out = DDIM(grid, eta, denoise=False)(model, sde.prior_sample(Z), NOISE)
    torch.testing.assert_close(out.samples, x, rtol=1e-9, atol=1e-9)


def denoiser(sde: EDMSDE, x: Tensor, sigma: Tensor) -> Tensor:
    return tweedie(sde, x, sigma, GaussianScore(sde)(x, sigma))


def test_3m_sde_matches_k_diffusion() -> None:
    sde, grid = EDMSDE(), LogSNRGrid(9, 0.02)
    sigmas, x = grid(sde), sde.prior_sample(Z)
    h_1 = h_2 = d_1 = d_2 = None
    for i in range(len(sigmas) - 1):
        now = denoiser(sde, x, sigmas[i])
        h = (sigmas[i] / sigmas[i + 1]).log()
        moved = torch.exp(-2 * h) * x + (1 - torch.exp(-2 * h)) * now
        phi_2 = torch.expm1(-2 * h) / (2 * h) + 1
        if h_2 is not None:
            r0, r1 = h_1 / h, h_2 / h
            first, before = (now - d_1) / r0, (d_1 - d_2) / r1
            slope = first + (first - before) * r0 / (r0 + r1)
            moved = moved + phi_2 * slope - (phi_2 / (2 * h) - 0.5) * (first - before) / (r0 + r1)
        elif h_1 is not None:
            moved = moved + phi_2 * (now - d_1) / (h_1 / h)
        x = moved + NOISE("solver", i, x) * sigmas[i + 1] * (-torch.expm1(-2 * h)).sqrt()
        d_1, d_2, h_1, h_2 = now, d_1, h, h_1
    out = DPMSolver3MSDE(grid, denoise=False)(GaussianScore(sde), sde.prior_sample(Z), NOISE)
    torch.testing.assert_close(out.samples, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_2s_ancestral_matches_k_diffusion(eta: float) -> None:
    sde, grid = EDMSDE(), LogSNRGrid(9, 0.02)
    sigmas, x = grid(sde), sde.prior_sample(Z)
    for i, (t, s) in enumerate(pairwise(sigmas)):
        up = eta * (s**2 * (t**2 - s**2) / t**2).sqrt()
        down = (s**2 - up**2).sqrt()
        middle = (t * down).sqrt()
        half = middle / t * x + (1 - middle / t) * denoiser(sde, x, t)
        x = down / t * x + (1 - down / t) * denoiser(sde, half, middle)
        x = x + (up * NOISE("solver", i, x) if eta else 0)
    out = DPMSolver2SAncestral(grid, eta, denoise=False)(GaussianScore(sde), sde.prior_sample(Z), NOISE)
    torch.testing.assert_close(out.samples, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [DDIM, DPMSolver2SAncestral])
@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_outside_its_range_is_refused(make: type[DDIM] | type[DPMSolver2SAncestral], eta: float) -> None:
    with pytest.raises(UserError, match="eta"):
        make(LogSNRGrid(), eta)
