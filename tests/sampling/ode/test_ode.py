"""The adaptive probability-flow ODE: runs of the original code, closed forms, independent samples, failures."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.sampling import ProbabilityFlowODE, slerp, temper
from src.sampling.ode.adaptive import Tolerance
from src.sde import EDMSDE, SDE, VESDE, VPSDE, SubVPSDE
from tests.sampling.closed_forms import Mixture
from tests.support.gaussian import GaussianScore
from tests.support.golden import load

SDES: dict[str, SDE] = {"vesde": VESDE(), "vpsde": VPSDE(), "subvpsde": SubVPSDE()}
THREE = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]], dtype=torch.float64)


@pytest.mark.parametrize("name", SDES)
def test_runs_of_the_original_code(name: str) -> None:
    golden = load("likelihood_ode")
    sampler = ProbabilityFlowODE(eps=1e-5 if name == "vesde" else 1e-3, denoise=False)
    out = sampler(GaussianScore(SDES[name]), golden[f"{name}.ode.z"])
    # Both solvers are of order 5(4), with tolerance 1e-5 per step.
    torch.testing.assert_close(out.samples, golden[f"{name}.ode.x"], rtol=0, atol=1e-3)
    latent, _ = ProbabilityFlowODE(eps=1e-5).encode(GaussianScore(SDES[name]), golden[f"{name}.data"])
    scale = float(golden[f"{name}.z"].std())
    torch.testing.assert_close(latent / scale, golden[f"{name}.z"] / scale, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sde", [*SDES.values(), EDMSDE()], ids=lambda sde: type(sde).__name__)
def test_closed_form_of_gaussian_data(sde: SDE) -> None:
    """The flow of a Gaussian is x_T = mean_T + (x_eps - mean_eps) std_T / std_eps."""
    model = GaussianScore(sde)
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    ends = torch.tensor([1e-3, sde.T], dtype=torch.float64)
    mean = sde.alpha(ends) * model.mean
    std = (sde.alpha(ends).square() * model.std**2 + sde.sigma(ends).square()).sqrt()
    latent, _ = ProbabilityFlowODE(rtol=1e-8, atol=1e-8, eps=1e-3).encode(model, x)
    torch.testing.assert_close(latent, mean[1] + (x - mean[0]) * std[1] / std[0], rtol=1e-6, atol=1e-6)
    back = ProbabilityFlowODE(rtol=1e-8, atol=1e-8, eps=1e-3, denoise=False)(model, latent).samples
    torch.testing.assert_close(back, x, rtol=0, atol=1e-6)
    clean = ProbabilityFlowODE(rtol=1e-8, atol=1e-8, eps=1e-3)(model, latent).samples
    shrink = sde.alpha(ends[0]) * model.std**2 / std[0].square()
    torch.testing.assert_close(clean, model.mean + shrink * (x - mean[0]), rtol=0, atol=1e-6)


class Counting:
    """Count evaluations per sample, identified by ``cond["row"]``."""

    def __init__(self, model: Mixture, batch: int) -> None:
        self.model = model
        self.sde = model.sde
        self.evaluations = torch.zeros(batch, dtype=torch.int64)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        assert cond is not None and len(cond["row"]) == len(x)
        self.evaluations[cond["row"]] += 1
        return self.model(x, t)


@pytest.mark.parametrize("name", SDES)
def test_samples_and_nfe_do_not_depend_on_the_batch(name: str) -> None:
    sde = SDES[name]
    model = Mixture(sde, THREE, 0.1)
    z = sde.prior_sample(torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    sampler = ProbabilityFlowODE(rtol=1e-3, atol=1e-3, eps=1e-3)
    counting = Counting(model, 64)
    whole = sampler(counting, z, cond={"row": torch.arange(64)})
    assert len(whole.nfe.unique()) > 1, "the test needs samples with different numbers of steps"
    # Finished samples are not evaluated, so the reported NFE is the number of evaluations.
    assert torch.equal(counting.evaluations, whole.nfe)
    for size in (1, 7):
        for start in range(0, 2 * size, size):
            part = sampler(model, z[start : start + size])
            torch.testing.assert_close(part.samples, whole.samples[start : start + size], rtol=0, atol=1e-10)
            assert torch.equal(part.nfe, whole.nfe[start : start + size])


def test_time_is_float64_and_the_state_keeps_its_dtype() -> None:
    def field(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        assert t.dtype == torch.float64 and y.dtype == torch.float32
        return -y

    y, _ = Tolerance().solve(field, torch.ones(2, 3), 0.0, 1.0)
    torch.testing.assert_close(y, torch.full((2, 3), 0.36787945), rtol=0, atol=2e-5)


def test_smaller_tolerance_gives_smaller_error() -> None:
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        y, _ = Tolerance(tolerance, tolerance).solve(
            lambda t, y, rows: t.cos()[:, None] * y, torch.ones(1, 1, dtype=torch.float64), 0.0, 2.0
        )
        errors.append(abs(float(y.log()) - float(torch.tensor(2.0, dtype=torch.float64).sin())))
    assert errors[2] < errors[1] / 10 < errors[0] / 100 and errors[2] < 1e-6


def test_a_failed_solve_reports_sample_and_time() -> None:
    def poison(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        return torch.where((rows[:, None] == 1) & (t[:, None] > 0.5), torch.nan, -y)

    with pytest.raises(UserError, match=r"sample 1 of the batch failed at t=0\.\d+: its state is not finite"):
        Tolerance().solve(poison, torch.ones(3, 2), 0.0, 1.0)
    with pytest.raises(UserError, match="3 steps were not enough"):
        ProbabilityFlowODE(max_steps=3)(GaussianScore(VESDE()), 50 * torch.ones(2, 3))


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match="eps=2"):
        ProbabilityFlowODE(eps=2.0)(GaussianScore(VPSDE()), torch.ones(1, 2))
    with pytest.raises(UserError, match="control"):
        ProbabilityFlowODE()(GaussianScore(VPSDE()), torch.ones(1, 2), control=lambda x, m, t, z: (x, m))
    with pytest.raises(UserError, match="rtol"):
        ProbabilityFlowODE(rtol=0.0)


def test_slerp_stays_on_the_sphere_around_the_prior_mean() -> None:
    sde = VESDE(sigma_max=5.0, prior_mean=0.5)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64, generator=generator)
    b = 0.5 + (b - 0.5) * ((a - 0.5).flatten(1).norm(dim=1) / (b - 0.5).flatten(1).norm(dim=1)).reshape(-1, 1, 1, 1)
    path = slerp(sde, a, b, torch.linspace(0, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    radii = (path - 0.5).flatten(2).norm(dim=2)
    torch.testing.assert_close(radii, radii[:1].expand_as(radii))
    steps = (path[1:] - path[:-1]).flatten(2).norm(dim=2)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))
    # Equal end points: the angle is zero.
    torch.testing.assert_close(slerp(sde, a, a, torch.tensor([0.3], dtype=torch.float64))[0], a)


def test_temperature_scales_the_spread_of_the_samples() -> None:
    sde = VESDE()
    z = sde.prior_sample(torch.randn(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    sampler = ProbabilityFlowODE(eps=1e-3)
    warm = sampler(GaussianScore(sde), z).samples
    cool = sampler(GaussianScore(sde), temper(sde, z, 0.7)).samples
    assert float(cool.std() / warm.std()) == pytest.approx(0.7, abs=1e-3)


def test_autocast_affects_the_net_only() -> None:
    sde = VPSDE()
    model = GaussianScore(sde)
    seen = []

    def score(x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return model(x, t)

    score.sde = sde  # type: ignore[attr-defined]
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    sampler = ProbabilityFlowODE(denoise=False)
    plain = sampler(score, z)
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = sampler(score, z)
    assert set(seen) == {(True, torch.bfloat16)}
    assert torch.equal(cast.samples, plain.samples) and torch.equal(cast.nfe, plain.nfe)
