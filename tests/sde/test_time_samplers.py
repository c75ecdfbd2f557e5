"""Distributions of training times, compared with quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.sde import EDMSDE, SDE, VESDE, VPSDE, SubVPSDE
from src.sde.flow import FlowSDE
from src.sde.objectives.score_matching import LikelihoodWeighting
from src.sde.time_samplers import GridTime, LikelihoodTime, LogNormalSigma, UniformTime

SDES = [VESDE(), VPSDE(), SubVPSDE(), EDMSDE(), FlowSDE()]
EPS = 1e-3


def midpoints(count: int) -> Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
@pytest.mark.parametrize("sampler", [UniformTime(EPS), LikelihoodTime(EPS)], ids=lambda s: type(s).__name__)
def test_importance_weights_keep_expectations_over_uniform_times(
    sde: SDE, sampler: UniformTime | LikelihoodTime
) -> None:
    t, importance = sampler(sde, midpoints(50_000))
    uniform = EPS + midpoints(50_000) * (sde.T - EPS)
    for function in (torch.ones_like, torch.square, lambda t: torch.cos(3 * t / sde.T)):
        assert float((importance * function(t)).mean()) == pytest.approx(float(function(uniform).mean()), rel=2e-3)
    assert t.min() >= EPS and t.max() <= sde.T


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_likelihood_time_density_is_proportional_to_the_weight(sde: SDE) -> None:
    u = midpoints(2000)[100:1900]
    sampler, weighting = LikelihoodTime(EPS), LikelihoodWeighting()
    t, importance = sampler(sde, u)
    du = 1e-7
    density = 2 * du / (sampler(sde, u + du)[0] - sampler(sde, u - du)[0]).abs()
    constant = density / weighting(sde, t)
    torch.testing.assert_close(constant, constant[:1].expand_as(constant), rtol=1e-5, atol=0)
    # The weighted, importance-sampled loss therefore has the same weight at all times.
    product = weighting(sde, t) * importance
    torch.testing.assert_close(product, product[:1].expand_as(product), rtol=1e-9, atol=0)


def test_likelihood_weight_is_minus_twice_the_slope_of_log_snr() -> None:
    for sde in SDES:
        t = sde.T * torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        dt = 1e-6 * sde.T
        slope = (sde.log_snr(t + dt) - sde.log_snr(t - dt)) / (2 * dt)
        torch.testing.assert_close(LikelihoodWeighting()(sde, t), -2 * slope, rtol=1e-7, atol=0)


def test_grid_times_are_the_chain_times() -> None:
    u = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.999, 1.0])
    smld, weight = GridTime(4)(VESDE(), u)
    assert smld.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1]) and weight.tolist() == [1] * 6
    assert GridTime(4, from_zero=False)(VPSDE(), u)[0].tolist() == pytest.approx([0.25, 0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("sde", [EDMSDE(), VPSDE()], ids=["edm", "vp"])
def test_log_normal_levels(sde: SDE) -> None:
    t, _ = LogNormalSigma(-1.2, 1.2)(sde, midpoints(10_000))
    log_level = -sde.log_snr(t)
    assert float(log_level.mean()) == pytest.approx(-1.2, abs=1e-3)
    assert float(log_level.std()) == pytest.approx(1.2, abs=2e-3)
    # One standard deviation above the mean: the normal distribution function is 0.8413.
    share = float((log_level < 0).double().mean())
    assert share == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))), abs=1e-3)


def test_eps_beyond_the_end_time_is_refused() -> None:
    with pytest.raises(UserError, match="eps"):
        UniformTime(2.0)(VPSDE(), midpoints(2))


def test_likelihood_time_reads_no_number_back_from_the_device() -> None:
    # Tensors on the meta device have no values: reading one raises.
    times, importance = LikelihoodTime(EPS)(VESDE(), torch.empty(4, device="meta"))
    assert times.is_meta and importance.is_meta and times.dtype == importance.dtype == torch.float32


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
@pytest.mark.parametrize("mean", [-12.0, 12.0])
def test_noise_levels_outside_the_sde_are_clamped(sde: SDE, mean: float) -> None:
    t, _ = LogNormalSigma(mean, 3.0)(sde, midpoints(1000))
    assert float(t.min()) >= 0 and float(t.max()) <= sde.T
