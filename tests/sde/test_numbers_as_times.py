"""Python numbers are accepted as times, for every SDE in conf/sde and every parametrization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.sde import SDE, VPSDE, ReverseSDE, ScoreModel
from tests.support.configs import build, names
from tests.support.gaussian import GaussianScore

X = torch.linspace(-1, 1, 12).view(2, 3, 2)


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


@pytest.mark.parametrize("name", names("sde"))
@pytest.mark.parametrize("kind", [float, int])
def test_sde_methods_accept_numbers(name: str, kind: type) -> None:
    sde: SDE = build("sde", name)
    # Integer times only if the SDE is longer than 2.
    t, s = (kind(sde.T), 0 if kind is int else sde.T / 4) if kind is float or sde.T > 2 else (0.75 * sde.T, 0.5 * sde.T)
    at, to = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    reverse = ReverseSDE(sde, GaussianScore(sde))
    of_one = (sde.alpha, sde.sigma, sde.log_alpha_derivative, sde.diffusion_squared, sde.diffusion, sde.log_snr)
    pairs = [(method(t), method(at)) for method in (*of_one, reverse.diffusion)]
    pairs += [(method(X, t), method(X, at)) for method in (sde.drift, sde.marginal, reverse.drift)]
    pairs += [(method(X, t, s), method(X, at, to)) for method in (sde.discretize, reverse.discretize)]
    pairs += [(method(t, s=s), method(at, to)) for method in (sde.transition, sde.ancestral_variance)]
    for with_number, with_tensor in pairs:
        for one, two in zip(flat(with_number), flat(with_tensor), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", names("parametrization"))
def test_parametrizations_and_score_models_accept_numbers(name: str) -> None:
    parametrization, sde = build("parametrization", name), VPSDE()
    t = torch.tensor(0.3, dtype=torch.float64)
    for one, two in zip(parametrization(sde, 0.3), parametrization(sde, t), strict=True):
        assert torch.equal(one, two)
    try:
        model = ScoreModel(Double(), sde, parametrization, "centered")
    except UserError:
        return
    assert torch.equal(model(X, 0.3), model(X, t))
    assert torch.equal(model.denoise(X, t=0.3), model.denoise(X, t))
    assert model(X, 0.3).dtype == torch.float32


class Double(torch.nn.Module):
    def forward(self, x: Tensor, c_noise: Tensor, cond: object = None) -> Tensor:
        return 2 * x
