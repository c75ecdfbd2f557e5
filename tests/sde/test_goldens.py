"""SDEs, reverse SDEs, single sampler steps and losses compared with the original code."""

from __future__ import annotations

import pytest
import torch

from src.sampling import AncestralSampling, AnnealedLangevin, EulerMaruyama, Langevin, ReverseDiffusion
from src.sde import SDE, VESDE, VPSDE, ReverseSDE, SubVPSDE
from src.sde.objectives.score_matching import LikelihoodWeighting, PaperWeighting, ScoreMatching
from src.sde.time_samplers import UniformTime
from tests.support.gaussian import GaussianScore
from tests.support.golden import load, relative

SDES: dict[str, SDE] = {"vesde": VESDE(), "vpsde": VPSDE(), "subvpsde": SubVPSDE()}
N = 1000
# The original steps by 1/N and reads noise levels from a table of N entries; between entries they are off by
# up to one entry, ln(5000)/1000 = 0.9 % for VE. The steps below are therefore taken from the table's own times.
STEP_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def steps() -> dict[str, torch.Tensor]:
    return load("sde_steps")


@pytest.mark.parametrize("name", SDES)
def test_drift_diffusion_marginal_and_prior(name: str, steps: dict[str, torch.Tensor]) -> None:
    sde, x, t = SDES[name], steps["x"], steps["t"]
    score = GaussianScore(sde)
    mean, std = sde.marginal(x, t)
    found = {
        "drift": sde.drift(x, t),
        "diffusion": sde.diffusion(t),
        "mean": mean,
        "std": std,
        "prior_logp": sde.prior_log_prob(x),
        "score": score(x, t),
        "rev0.drift": ReverseSDE(sde, score).drift(x, t),
        "rev1.drift": ReverseSDE(sde, score, probability_flow=True).drift(x, t),
    }
    for key, value in found.items():
        expected = steps[f"{name}.{key}"]
        # No time grid is involved: both sides are float64.
        torch.testing.assert_close(
            value, expected.expand_as(value), rtol=1e-5, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}"
        )


STEPS = {
    "euler_maruyama": EulerMaruyama(),
    "reverse_diffusion": ReverseDiffusion(),
    "ancestral_sampling": AncestralSampling(),
    "langevin": Langevin(snr=0.16, norm="batch"),
    "ald": AnnealedLangevin(snr=0.16),
}


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("step", STEPS)
def test_one_sampler_step(name: str, step: str, steps: dict[str, torch.Tensor]) -> None:
    if f"{name}.{step}.x" not in steps:
        assert name == "subvpsde", "only sub-VP lacks ancestral sampling and Langevin in the original"
        return
    sde = SDES[name]
    # The first time, 1e-5, lies inside the original's last step, which ends at t = 0; ours ends with a denoising.
    x, t, z = steps["x"], steps["t"], steps["z"]
    moved, mean = STEPS[step](sde, GaussianScore(sde), x, t, (t - 1 / N).clamp(min=0), lambda: z)
    assert relative(moved[1:], steps[f"{name}.{step}.x"][1:]) < STEP_TOLERANCE
    assert relative(mean[1:], steps[f"{name}.{step}.x_mean"][1:]) < STEP_TOLERANCE


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("likelihood", [0, 1])
@pytest.mark.parametrize("mean", [0, 1])
def test_losses(name: str, likelihood: int, mean: int) -> None:
    golden = load("losses")
    sde = SDES[name]
    objective = ScoreMatching(
        UniformTime(), LikelihoodWeighting() if likelihood else PaperWeighting(), "mean" if mean else "sum"
    )
    found = objective.loss(GaussianScore(sde), golden["x"], golden["t"], golden["z"])
    expected = golden[f"{name}.likelihood{likelihood}.mean{mean}.per_sample"]
    # Closed forms in float64 on both sides.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
