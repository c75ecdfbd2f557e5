"""Thresholded scores: denoised values are clamped, other values unchanged, and solvers stay in the data range."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling import DPMSolver, Heun, KarrasGrid
from src.sampling.conditioning.thresholding import Thresholding
from src.sde import SDE, VESDE, VPSDE, expand, tweedie
from tests.support.gaussian import GaussianScore

INDEX = torch.arange(64)


@dataclass(frozen=True)
class Erring(GaussianScore):
    """Score whose noise prediction has a constant error above sigma = 1/2, as a trained net may have."""

    error: float = 0.2

    def __call__(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
        sigma = self.sde.sigma(t).reshape(-1, *(1,) * (x.ndim - 1)).to(x.dtype)
        return super().__call__(x, t) + torch.where(sigma > 0.5, self.error / sigma, 0.0)


@pytest.mark.parametrize("sde", [VESDE(), VPSDE()], ids=["ve", "vp"])
@pytest.mark.parametrize("times", [torch.tensor(0.5, dtype=torch.float64), torch.linspace(0.45, 0.6, 64).double()])
def test_only_out_of_range_predictions_are_clamped(sde: SDE, times: Tensor) -> None:
    z = normal(0, "prior", 0, INDEX, (5,), torch.float64)
    x = 0.25 * expand(sde.alpha(times), z) + 1.5 * expand(sde.sigma(times), z) * z
    plain = Erring(sde)
    inside, outside = tweedie(sde, x, times, plain(x, times)), Thresholding(plain, "centered")
    torch.testing.assert_close(outside.denoise(x, times), inside.clamp(-1, 1), rtol=1e-9, atol=1e-9)
    kept = inside.abs() <= 1
    assert kept.any() and not kept.all()
    assert torch.equal(outside(x, times)[kept], plain(x, times)[kept])


@pytest.mark.parametrize("make", [Heun, DPMSolver])
def test_samples_of_an_inexact_score_stay_in_range(make: type[Heun | DPMSolver]) -> None:
    sde = VESDE()
    x = sde.prior_sample(normal(0, "prior", 0, INDEX, (5,)))
    sampler, noise = make(KarrasGrid(18, 1e-3)), AddressedNoise(0, INDEX)
    model = Erring(sde, mean=0.5, std=0.1, error=3.0)
    assert float(sampler(model, x, noise).samples.max()) > 1.2
    held = sampler(Thresholding(model, "unit"), x, noise)
    assert float(held.samples.min()) >= 0 and float(held.samples.max()) <= 1
    assert held.nfe.tolist() == sampler(model, x, noise).nfe.tolist()


def test_an_unknown_data_range_is_refused() -> None:
    with pytest.raises(UserError, match="data_range"):
        Thresholding(GaussianScore(VESDE()), "bytes")
