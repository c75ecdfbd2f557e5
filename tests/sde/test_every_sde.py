"""Properties of every SDE in conf/sde, and of one that defines only alpha and sigma."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling.solvers.correctors import Langevin
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import ReverseDiffusion
from src.sampling.solvers.schedule import KarrasGrid, LogSNRGrid
from src.sde import SDE, VESDE
from src.sde.flow import FlowSDE
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore


@dataclass(frozen=True)
class OnlyAlphaSigma(SDE):
    """The SDE ``of`` without its closed forms."""

    of: SDE | None = None

    def alpha(self, t: Tensor) -> Tensor:
        assert self.of is not None
        return self.of.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        assert self.of is not None
        return self.of.sigma(t)


@dataclass(frozen=True)
class Quarter(SDE):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2); not in conf/sde, no other closed forms."""

    T: float = 0.99

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(math.pi / 2 * t)


@pytest.fixture(params=[*names("sde"), None], ids=lambda name: name or "not in conf")
def sde(request: pytest.FixtureRequest) -> SDE:
    return Quarter() if request.param is None else build("sde", request.param)


def times(sde: SDE, *fractions: float) -> Tensor:
    return sde.T * torch.tensor(fractions, dtype=torch.float64)


def test_closed_forms_agree_with_alpha_and_sigma(sde: SDE) -> None:
    t = times(sde, 1e-3, 0.1, 0.37, 0.8, 1)
    x = torch.linspace(-2, 3, 5, dtype=torch.float64)[:, None]
    bare = OnlyAlphaSigma(T=sde.T, of=sde)
    torch.testing.assert_close(sde.drift(x, t), bare.drift(x, t), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sde.diffusion(t), bare.diffusion(t), rtol=1e-9, atol=0)


def test_float32_is_accurate_near_time_zero(sde: SDE) -> None:
    t = times(sde, 1e-5, 1e-3, 1e-2)
    for quantity in (sde.sigma, sde.diffusion):
        torch.testing.assert_close(quantity(t.float()).double(), quantity(t), rtol=1e-5, atol=0)


def test_marginals_agree_with_a_simulation(sde: SDE) -> None:
    steps, paths, x0 = 1000, 10_000, 0.7
    grid = torch.linspace(0, 0.9 * sde.T, steps + 1, dtype=torch.float64)
    index = torch.arange(paths)
    # Start from the marginal at t = 0: x0, or N(x0, sigma_min^2) for VE.
    x = sde.alpha(grid[0]) * x0 + sde.sigma(grid[0]) * normal(0, "start", 0, index, (1,), torch.float64)
    checked = {steps // 4, steps // 2, steps}
    # Euler-Maruyama at the midpoints; random signs have the mean and variance of standard normals.
    generator = torch.Generator().manual_seed(0)
    for i in range(steps):
        middle, dt = (grid[i] + grid[i + 1]) / 2, grid[i + 1] - grid[i]
        signs = torch.randint(0, 2, x.shape, generator=generator).mul_(2).sub_(1)
        x = x + sde.drift(x, middle) * dt + sde.diffusion(middle) * dt.sqrt() * signs
        if i + 1 in checked:
            alpha, sigma = float(sde.alpha(grid[i + 1])), float(sde.sigma(grid[i + 1]))
            # Four standard errors, plus 0.5 % for the discretization.
            assert float(x.mean()) == pytest.approx(alpha * x0, abs=4 * sigma / paths**0.5 + 0.005 * alpha)
            assert float(x.std()) == pytest.approx(sigma, rel=4 / (2 * paths) ** 0.5 + 0.005)


def test_prior_density_integrates_to_one(sde: SDE) -> None:
    sigma = float(sde.sigma(times(sde, 1)))
    z = torch.linspace(-12 * sigma, 12 * sigma, 20_001, dtype=torch.float64)[:, None]
    assert float(torch.trapezoid(sde.prior_log_prob(z).exp(), z[:, 0])) == pytest.approx(1, abs=1e-9)


def test_prior_sample_follows_prior_density(sde: SDE) -> None:
    z = sde.prior_sample(normal(0, "prior", 0, torch.arange(50_000), (2,), torch.float64))
    # The mean of -log p is the entropy of a Gaussian: 1 + ln(2 pi sigma^2) in the plane.
    sigma = float(sde.prior_sample(torch.ones(1, 1)) - sde.prior_sample(torch.zeros(1, 1)))
    assert float(-sde.prior_log_prob(z).mean()) == pytest.approx(1 + math.log(2 * math.pi * sigma**2), abs=0.02)


def test_prior_std_is_sigma_at_the_end(sde: SDE) -> None:
    z = sde.prior_sample(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    assert float(z[1] - z[0]) / 2 == pytest.approx(float(sde.sigma(times(sde, 1))), rel=1e-3)


def test_time_of_log_snr_inverts_log_snr(sde: SDE) -> None:
    t = times(sde, 1e-3, 0.02, 0.5, 0.93, 1)
    bare = OnlyAlphaSigma(T=sde.T, of=sde)
    for found in (sde.time_of_log_snr(sde.log_snr(t)), bare.time_of_log_snr(sde.log_snr(t))):
        torch.testing.assert_close(found, t, rtol=1e-9, atol=1e-12)
    assert (sde.log_snr(t).diff() < 0).all()


def test_transitions_compose(sde: SDE) -> None:
    u, s, t = times(sde, 0.1, 0.3, 0.8)
    (a_ts, v_ts), (a_su, v_su), (a_tu, v_tu) = sde.transition(t, s), sde.transition(s, u), sde.transition(t, u)
    torch.testing.assert_close(a_tu, a_ts * a_su, rtol=1e-12, atol=0)
    torch.testing.assert_close(v_tu, v_ts + a_ts**2 * v_su, rtol=1e-12, atol=0)
    # From time 0 the transition is the marginal, apart from the noise present at time 0 (VE).
    zero = torch.zeros_like(t)
    scale, variance = sde.transition(t, zero)
    torch.testing.assert_close(variance + (scale * sde.sigma(zero)) ** 2, sde.sigma(t) ** 2, rtol=1e-12, atol=0)


def test_small_chain_steps_approach_the_sde(sde: SDE) -> None:
    t = times(sde, 0.2, 0.7)
    dt = 1e-6 * sde.T
    x = torch.tensor([[1.5], [-0.4]], dtype=torch.float64)
    f, big_g = sde.discretize(x, t, t - dt)
    torch.testing.assert_close(f / dt, sde.drift(x, t), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(big_g / dt**0.5, sde.diffusion(t), rtol=1e-4, atol=0)


def test_batched_times_agree_with_single_times(sde: SDE) -> None:
    t = times(sde, 0.1, 0.6)
    x = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, std = sde.marginal(x, t)
    f, big_g = sde.discretize(x, t, 0.9 * t)
    for i in range(2):
        mean_i, std_i = sde.marginal(x[i : i + 1], t[i])
        f_i, big_g_i = sde.discretize(x[i : i + 1], t[i], 0.9 * t[i])
        for batched, single in ((mean, mean_i), (f, f_i), (sde.drift(x, t), sde.drift(x[i : i + 1], t[i]))):
            torch.testing.assert_close(batched[i], single[0])
        assert std[i] == std_i
        torch.testing.assert_close(big_g[i], big_g_i)


def test_samplers_run_on_an_sde_with_only_alpha_and_sigma() -> None:
    sde = Quarter()
    x_init = sde.prior_sample(normal(0, "prior", 0, torch.arange(256), (48,)))
    noise = AddressedNoise(0, torch.arange(256))
    pc = PredictorCorrector(LogSNRGrid(150, 1e-3), ReverseDiffusion(), Langevin(snr=0.1))
    for sampler in (pc, Heun(KarrasGrid(18, 1e-3))):
        samples = sampler(GaussianScore(sde), x_init, noise).samples
        assert float(samples.mean()) == pytest.approx(0.25, abs=0.03)
        assert float(samples.std()) == pytest.approx(0.5, abs=0.03)


def test_prior_mean_per_channel() -> None:
    sde = VESDE(prior_mean=[0.1, 0.2, 0.3])
    flat = sde.prior_sample(torch.zeros(2, 3, 4, 4))
    assert flat.flatten(2).mean(2).tolist() == [pytest.approx([0.1, 0.2, 0.3])] * 2
    with pytest.raises(UserError, match="one per channel"):
        sde.prior_sample(torch.zeros(2, 4))


def test_flow_must_end_before_its_drift_is_infinite() -> None:
    with pytest.raises(UserError, match="T < 1"):
        FlowSDE(T=1.0)
