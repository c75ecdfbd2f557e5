"""Time grids: end points, spacing, invalid settings."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.sampling.solvers.schedule import KarrasGrid, LinearGrid, LogSNRGrid, TimeGrid
from src.sde import EDMSDE, SDE
from tests.support.configs import build, names


@pytest.mark.parametrize("name", names("sde"))
@pytest.mark.parametrize("kind", [LinearGrid, LogSNRGrid, KarrasGrid])
def test_end_points_and_spacing(name: str, kind: type[TimeGrid]) -> None:
    sde: SDE = build("sde", name)
    times = kind(9, 1e-3)(sde)
    assert times.dtype == torch.float64 and times.device.type == "cpu"
    assert float(times[0]) == sde.T and float(times[-1]) == 1e-3 and (times.diff() < 0).all()
    uniform = {
        LinearGrid: lambda t: t,
        LogSNRGrid: sde.log_snr,
        KarrasGrid: lambda t: (sde.sigma(t) / sde.alpha(t)) ** (1 / 7),
    }[kind](times)
    torch.testing.assert_close(uniform.diff(), uniform.diff().mean().expand(8), rtol=1e-6, atol=0)


def test_karras_grid_matches_eq_5_of_edm() -> None:
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert KarrasGrid(18, 0.002)(EDMSDE()).tolist() == pytest.approx(expected, rel=1e-12)


def test_invalid_settings_are_refused() -> None:
    for arguments, message in (((0,), "steps"), ((5, 0.0), "eps"), ((5, 1e-3, -1.0), "rho")):
        with pytest.raises(UserError, match=message):
            KarrasGrid(*arguments)
    with pytest.raises(UserError, match="T="):
        LinearGrid(5, 90.0)(EDMSDE())
