"""Properties of every sampler in conf/sampler: the call contract and the declared order of convergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, NoiseSource, normal
from src.sampling import Sampler, SamplerStep
from src.sampling.solvers.heun import Heun
from src.sampling.solvers.loop import GridSampler
from src.sampling.solvers.schedule import LogSNRGrid
from src.sde import EDMSDE, SDE, VESDE, VPSDE
from tests.sampling.closed_forms import Impulses
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore
from tests.support.mixture import MixtureScore, probability_flow

SAMPLERS = names("sampler")
TIMES = 12
SDES: dict[str, tuple[SDE, float]] = {"ve": (VESDE(), 0.1), "vp": (VPSDE(), 0.1), "edm": (EDMSDE(), 0.02)}


@dataclass(frozen=True)
class Counted(GaussianScore):
    """The exact score; records the batch size of each call."""

    rows: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        self.rows.append(len(x))
        return super().__call__(x, t, cond)


def sampler(name: str) -> Sampler:
    """Build a sampler of conf/sampler, with a short grid if it has one."""
    made: Sampler = build("sampler", name)
    if isinstance(made, GridSampler):
        made.grid = LogSNRGrid(TIMES, 1e-3)
    return made


def start(index: Tensor, sde: SDE = SDES["ve"][0]) -> Tensor:
    return sde.prior_sample(normal(1, "prior", 0, index, (5,), torch.float64))


def test_descriptions_name_class_parts_and_steps() -> None:
    made = {name: build("sampler", name).described for name in SAMPLERS}
    assert made["heun"] == "Heun 18 steps" and made["ode"] == "ProbabilityFlowODE"
    assert made["pc"] == "PredictorCorrector(ReverseDiffusion, Langevin) 1000 steps"
    assert made["corrector_only"] == "PredictorCorrector(Langevin) 1000 steps"
    assert Heun(LogSNRGrid(5), denoise=False).described == "Heun 5 steps, not denoised"


@pytest.mark.parametrize("name", SAMPLERS)
def test_nfe_equals_the_evaluations_made(name: str) -> None:
    index, model = torch.arange(3), Counted(SDES["ve"][0])
    out = sampler(name)(model, start(index), AddressedNoise(0, index))
    assert out.nfe.dtype == torch.int64 and out.nfe.shape == (3,)
    # Samples that finish early are not evaluated any more.
    assert sum(model.rows) >= int(out.nfe.sum()) >= sum(model.rows) - 3 * int(out.nfe.max() - out.nfe.min())
    assert len(model.rows) >= int(out.nfe.max())


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_gets_every_step_and_the_result(name: str) -> None:
    index, steps = torch.arange(3), list[SamplerStep]()
    out = sampler(name)(GaussianScore(SDES["ve"][0]), start(index), AddressedNoise(0, index), callback=steps.append)
    assert [step.index for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)}
    assert all(step.x.shape == step.x_mean.shape == out.samples.shape for step in steps)
    assert torch.equal(steps[-1].x_mean, out.samples)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    index, model = torch.tensor([4, 0, 17, 3]), GaussianScore(SDES["ve"][0])
    together = sampler(name)(model, start(index), AddressedNoise(0, index)).samples
    for i in range(len(index)):
        one = index[i : i + 1]
        alone = sampler(name)(model, start(one), AddressedNoise(0, one)).samples
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_addresses_are_unique_and_results_repeat(name: str) -> None:
    index, drawn = torch.arange(2), list[tuple[str, int]]()

    def noise(purpose: str, step: int, like: Tensor) -> Tensor:
        drawn.append((purpose, int(step)))
        return AddressedNoise(0, index)(purpose, step, like)

    first, second = (
        sampler(name)(GaussianScore(SDES["ve"][0]), start(index), source).samples
        for source in (noise, AddressedNoise(0, index))
    )
    assert len(drawn) == len(set(drawn))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", SAMPLERS)
def test_control_is_applied_after_every_step_or_refused(name: str) -> None:
    index, steps, sde = torch.arange(3), list[SamplerStep](), SDES["ve"][0]

    def pin(x: Tensor, x_mean: Tensor, t: Tensor, z: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        known = 1 + sde.sigma(t) * z() if t > 0 else torch.ones_like(x)
        return torch.cat([known[:, :1], x[:, 1:]], 1), torch.cat([torch.ones_like(x[:, :1]), x_mean[:, 1:]], 1)

    try:
        out = sampler(name)(
            GaussianScore(sde), start(index), AddressedNoise(0, index), control=pin, callback=steps.append
        )
    except UserError as refusal:
        assert "control" in str(refusal)
        return
    assert all((step.x_mean[:, 0] == 1).all() for step in steps)
    assert (out.samples[:, 0] == 1).all() and not (out.samples[:, 1:] == 1).any()


def solve(name: str, sde: SDE, eps: float, steps: int, model: GaussianScore, x: Tensor, noise: NoiseSource) -> Tensor:
    made = build("sampler", name)
    made.grid, made.denoise = LogSNRGrid(steps + 1, eps), False
    samples: Tensor = made(model, x, noise).samples
    return samples


def gaussian_error(name: str, sde: SDE, eps: float, steps: int, draws: int) -> float:
    """Return the error of the standard deviation on Gaussian data; exact, because samplers are linear in their noise
    there.
    """
    z = torch.zeros(draws + 2, 1, dtype=torch.float64)
    z[1] = 1
    (alpha, alpha_eps), (sigma, sigma_eps) = (
        f(torch.tensor([sde.T, eps], dtype=torch.float64)) for f in (sde.alpha, sde.sigma)
    )
    x = alpha / 4 + (alpha**2 / 4 + sigma**2).sqrt() * z
    samples = solve(name, sde, eps, steps, GaussianScore(sde), x, Impulses())[:, 0]
    return abs(float((samples[1:] - samples[0]).norm() - (alpha_eps**2 / 4 + sigma_eps**2).sqrt()))


def mixture_error(name: str, sde: SDE, eps: float, steps: int) -> float:
    x = sde.prior_sample(normal(0, "prior", 0, torch.arange(8), (2,), torch.float64))
    found = solve(name, sde, eps, steps, MixtureScore(sde), x, Impulses())
    return float((found - probability_flow(sde, x, eps)).square().mean().sqrt())


@pytest.mark.parametrize("name", SAMPLERS)
def test_error_decreases_with_the_declared_order(name: str) -> None:
    if (order := build("sampler", name).convergence_order) is None:
        return
    for sde, eps in SDES.values():
        probe, coarse, fine = Impulses(), 40, 80
        solve(name, sde, eps, 3, GaussianScore(sde), torch.zeros(500, 1, dtype=torch.float64), probe)
        if probe.drawn == 1:
            errors = [mixture_error(name, sde, eps, steps) for steps in (coarse, fine)]
        else:
            draws = math.ceil((probe.drawn - 1) / 3)
            errors = [gaussian_error(name, sde, eps, steps, draws * (steps + 1)) for steps in (coarse, fine)]
        # Twice the steps. A higher order is accepted: some errors cancel, such as Euler-Maruyama's on VE.
        assert math.log2(errors[0] / errors[1]) > order - 0.4, (name, type(sde).__name__, errors)
