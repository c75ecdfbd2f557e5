"""Consistency tuning on Gaussian data: the gradient vanishes at the exact flow map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.noise import Address, AddressedNoise, normal
from src.sampling.solvers.consistency import Consistency
from src.sampling.solvers.schedule import KarrasGrid
from src.sde import EDMSDE, SDE, VESDE, VPSDE, ScoreModel
from src.sde.flow import FlowSDE
from src.sde.objectives.consistency import ConsistencyTuning
from src.sde.parametrization import EDM, Parametrization, SongVE, SongVP
from src.sde.prediction import VelocityPrediction, VPrediction, X0Prediction
from src.sde.time_samplers import LogNormalSigma
from tests.support.gaussian import GaussianFlowMap

SDES = {"ve": VESDE(), "vp": VPSDE(), "edm": EDMSDE(), "flow": FlowSDE()}
TIMES = LogNormalSigma(-0.5, 1.0)


def slope(sde: SDE, noise: float, step: int) -> float:
    """Return d loss / d noise for the flow map's only parameter; ``huber`` is large, so the loss is quadratic."""
    index = torch.arange(40_000)
    x0 = 0.25 + 0.5 * normal(0, "data", 0, index, (1,), torch.float64)
    parameter = torch.tensor(noise, dtype=torch.float64, requires_grad=True)
    model = GaussianFlowMap(sde, noise=parameter)  # type: ignore[arg-type] # a number that has a gradient
    objective = ConsistencyTuning(TIMES, doubling=1, huber=1e3)
    t, _ = TIMES(sde, Address(0, 0, index).uniform("time").double())
    z = normal(0, "z", 0, index, (1,), torch.float64)
    loss = 1e3 * objective.loss(model, x0, t, z, step).mean()
    (gradient,) = torch.autograd.grad(loss, parameter)
    return float(gradient)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_gradient_vanishes_at_the_exact_flow_map(sde: SDE) -> None:
    below, exact, above = (slope(sde, noise, step=9) for noise in (0.6, 1.0, 1.6))
    assert below < 0 < above
    assert abs(exact) < 0.1 * min(-below, above)


def test_the_first_stage_learns_the_posterior_mean_and_the_last_the_flow_map() -> None:
    # A larger parameter shrinks toward the mean more, as the posterior mean does.
    assert -slope(EDMSDE(), 1.0, step=0) > 10 * abs(slope(EDMSDE(), 1.0, step=9))


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_loss_matches_its_formula(sde: SDE) -> None:
    """Stage 2 with q = 2: l_r = (1 - n / 8) l_t."""
    objective, model = ConsistencyTuning(TIMES, doubling=10, huber=0.1), GaussianFlowMap(sde)
    index = torch.arange(5)
    x0, z = (normal(0, purpose, 0, index, (3,), torch.float64) for purpose in ("data", "z"))
    level = torch.tensor([0.1, 0.3, 1.0, 3.0, 9.0], dtype=torch.float64)
    t = sde.time_of_log_snr(-level.log())
    level_r = level * (1 - (1 + 8 * torch.sigmoid(-level)) / 8)
    r = sde.time_of_log_snr(-level_r.log())

    def f(t: Tensor) -> Tensor:
        alpha, sigma = sde.alpha(t)[:, None], sde.sigma(t)[:, None]
        spread = (alpha**2 * 0.25 + sigma**2).sqrt()
        return 0.25 + 0.5 * (alpha * (x0 - 0.25) + sigma * z) / spread

    expected = (((f(t) - f(r)).square().sum(1) + 0.03).sqrt() - 0.03**0.5) / (level - level_r)
    torch.testing.assert_close(objective.loss(model, x0, t, z, 25), expected, rtol=1e-6, atol=0)
    later = ConsistencyTuning(TIMES, doubling=10, huber=0.1, first_stage=2)
    torch.testing.assert_close(later.loss(model, x0, t, z, 5), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
@pytest.mark.parametrize("evaluations", [1, 2, 3])
def test_samples_of_the_exact_map_match_the_closed_form(sde: SDE, evaluations: int) -> None:
    if isinstance(sde, FlowSDE):
        pytest.skip("alpha(T) = 0: the data cannot be predicted at T")
    times = [0.6 * sde.T, 0.2 * sde.T][: evaluations - 1]
    index = torch.arange(4)
    noise = AddressedNoise(0, index)
    x = sde.prior_sample(normal(0, "prior", 0, index, (2,), torch.float64))
    out = Consistency(KarrasGrid(1), times)(GaussianFlowMap(sde), x, noise)
    for i, time in enumerate([sde.T, *times]):
        t = torch.tensor(time, dtype=torch.float64)
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        if i > 0:
            x = alpha * x + sigma * noise("renoise", i - 1, x)
        x = 0.25 + 0.5 * (x - 0.25 * alpha) / (0.25 * alpha**2 + sigma**2).sqrt()
    torch.testing.assert_close(out.samples, x, rtol=1e-6, atol=1e-6)
    assert out.nfe.tolist() == [evaluations] * 4


class Dropping(nn.Module):
    """A net that only applies dropout and records its masks."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor, level: Tensor, cond: object = None) -> Tensor:
        self.masks.append(nn.functional.dropout(torch.ones_like(x)))
        return x * self.masks[-1]


def test_both_evaluations_of_a_pair_share_the_dropout_mask() -> None:
    net, x0 = Dropping(), torch.zeros(8, 16, requires_grad=True)
    model = ScoreModel(net, EDMSDE(), EDM(), "centered")
    for step in (0, 1):
        ConsistencyTuning(TIMES, 10)(model, x0, Address(0, step, torch.arange(8)))
    assert torch.equal(net.masks[0], net.masks[1]) and not torch.equal(net.masks[1], net.masks[2])


@pytest.mark.parametrize(
    ("sde", "parametrization"),
    [
        (VESDE(), SongVE()),
        (VPSDE(), SongVP()),
        (EDMSDE(), EDM()),
        (VPSDE(), VPrediction()),
        (FlowSDE(), VelocityPrediction()),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parametrizations_that_are_the_identity_at_time_zero_are_accepted(
    sde: SDE, parametrization: Parametrization
) -> None:
    ConsistencyTuning(TIMES, 10).check(ScoreModel(nn.Identity(), sde, parametrization, "centered"))


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match=r"X0Prediction gives .*choose parametrization=edm"):
        ConsistencyTuning(TIMES, 10).check(ScoreModel(nn.Identity(), VPSDE(), X0Prediction(), "centered"))
    for settings in ({"doubling": 0}, {"q": 1.0}, {"huber": 0.0}, {"k": -1.0}, {"first_stage": -1}):
        with pytest.raises(UserError, match=next(iter(settings))):
            ConsistencyTuning(TIMES, **{"doubling": 1, **settings})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="decreasing"):
        Consistency(KarrasGrid(1), [0.2, 0.5])
    with pytest.raises(UserError, match="must be smaller than"):
        Consistency(KarrasGrid(1), [90.0, 1.0]).check(EDMSDE())
