"""Restarts keep the marginals and reduce earlier errors by the contraction of the ODE."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling.solvers.restart import Restart, RestartGrid
from src.sde import EDMSDE, SDE, VPSDE
from tests.support.gaussian import GaussianScore

SDES = {"edm": (EDMSDE(), 1e-3), "vp": (VPSDE(), 1e-4)}


def spread(sde: SDE, level: float) -> float:
    """Return the standard deviation of x / alpha at a noise level; the data have 0.5."""
    return (0.25 + level**2) ** 0.5


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("repeats", [1, 3])
def test_each_restart_reduces_an_error_by_the_ode_contraction(name: str, repeats: int) -> None:
    sde, eps = SDES[name]
    grid = RestartGrid(200, eps, low=0.1, high=1.0, repeats=repeats, restart_steps=80)
    times = grid(sde)
    jump = int((times.diff() > 0).nonzero()[0])
    low = float(sde.sigma(times[jump]) / sde.alpha(times[jump]))
    index = torch.zeros(2, dtype=torch.int64)  # the same noise
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    out = Restart(grid)(GaussianScore(sde), x, AddressedNoise(0, index)).samples
    top = sde.sigma(times[0]) / sde.alpha(times[0])
    without = 0.5 / spread(sde, float(top)) / float(sde.alpha(times[0]))
    expected = without * (spread(sde, low) / spread(sde, 1.0)) ** repeats
    assert float(out[1] - out[0]) == pytest.approx(expected, rel=0.02)
    assert times[0] == sde.T and times[-1] == eps and int((times.diff() > 0).sum()) == repeats


def test_jumps_follow_the_forward_process() -> None:
    sde = EDMSDE()
    index = torch.arange(20_000)
    x = sde.prior_sample(AddressedNoise(0, index)("prior", 0, torch.empty(len(index), 1).double()))
    sampler = Restart(RestartGrid(60, 1e-3, low=0.1, high=1.0, repeats=2, restart_steps=30))
    out = sampler(GaussianScore(sde), x, AddressedNoise(0, index)).samples
    assert float(out.std()) == pytest.approx(0.5, rel=0.015)
    assert float(out.mean()) == pytest.approx(0.25, abs=0.015)


def test_invalid_settings_are_refused() -> None:
    for settings in ({"low": 0.5, "high": 0.3}, {"repeats": 0}, {"restart_steps": 1}):
        with pytest.raises(UserError, match=next(iter(settings))):
            RestartGrid(**settings)  # type: ignore[arg-type] # mixed kinds
    with pytest.raises(UserError, match="high=100"):
        RestartGrid(high=100.0)(EDMSDE())
