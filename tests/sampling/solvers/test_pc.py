"""Predictor-corrector: the distribution of samples, invariance under Langevin steps, and norms over the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.noise import AddressedNoise, normal
from src.sampling.solvers.correctors import AnnealedLangevin, Langevin, NoCorrector
from src.sampling.solvers.pc import PredictorCorrector
from src.sampling.solvers.predictors import EulerMaruyama, ReverseDiffusion
from src.sampling.solvers.schedule import LogSNRGrid
from src.sde import SDE, VESDE, VPSDE, SubVPSDE
from tests.support.gaussian import GaussianScore

D = 24
MEAN = torch.linspace(-0.5, 0.5, D)
# Neighboring coordinates are correlated; the scale grows with the coordinate.
SCALE = torch.linspace(0.3, 0.6, D)
COVARIANCE = SCALE[:, None] * SCALE * 0.5 ** (torch.arange(D)[:, None] - torch.arange(D)).abs()
VALUES, VECTORS = torch.linalg.eigh(COVARIANCE)


@dataclass(frozen=True)
class Correlated:
    """Exact score of N(MEAN, COVARIANCE)."""

    sde: SDE

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        spectrum = ((x - alpha * MEAN) @ VECTORS) / (alpha**2 * VALUES + sigma**2)
        return -spectrum @ VECTORS.T


@pytest.mark.parametrize("sde", [VESDE(), VPSDE(), SubVPSDE()], ids=["ve", "vp", "subvp"])
@pytest.mark.parametrize("corrector_first", [True, False])
def test_mean_and_covariance_of_samples(sde: SDE, corrector_first: bool) -> None:
    index = torch.arange(3000)
    sampler = PredictorCorrector(LogSNRGrid(150, 1e-3), ReverseDiffusion(), Langevin(snr=0.05), corrector_first)
    x = sampler(Correlated(sde), sde.prior_sample(normal(0, "prior", 0, index, (D,))), AddressedNoise(0, index)).samples
    # Three to four standard errors of 3,000 samples, plus a discretization bias of a few percent.
    torch.testing.assert_close(x.mean(0), MEAN, rtol=0, atol=0.04)
    torch.testing.assert_close(torch.cov(x.T), COVARIANCE, rtol=0.08, atol=0.02)


@pytest.mark.parametrize("corrector", [Langevin(snr=0.1), AnnealedLangevin(snr=0.1)], ids=["langevin", "annealed"])
def test_correctors_keep_the_marginal(corrector: Langevin | AnnealedLangevin) -> None:
    sde, index = VESDE(), torch.arange(1000)
    t = torch.tensor(0.5, dtype=torch.float64)
    std = float((0.25 + sde.sigma(t) ** 2).sqrt())
    x = 0.25 + std * normal(0, "start", 0, index, (64,))
    for step in range(30):
        x, _ = corrector(sde, GaussianScore(sde), x, t, t, lambda step=step: normal(0, "z", step, index, (64,)))
    assert float(x.mean()) == pytest.approx(0.25, abs=0.02)
    # Finite steps of varying size increase the std by at most r^2 / 2 + 2 / d, 3.6 % here.
    assert float(x.std()) == pytest.approx(std, rel=0.045)


def run(norm: str, index: Tensor) -> Tensor:
    sde = VESDE()
    sampler = PredictorCorrector(LogSNRGrid(20, 1e-3), ReverseDiffusion(), Langevin(norm=norm))
    return sampler(
        GaussianScore(sde), sde.prior_sample(normal(0, "prior", 0, index, (16,))), AddressedNoise(0, index)
    ).samples


def test_samples_depend_on_the_batch_only_with_batch_norms() -> None:
    together, alone = torch.arange(6), torch.tensor([3])
    torch.testing.assert_close(run("sample", together)[3], run("sample", alone)[0], rtol=0, atol=1e-6)
    assert (run("batch", together)[3] - run("batch", alone)[0]).abs().max() > 1e-2
    torch.testing.assert_close(run("batch", alone), run("sample", alone), rtol=0, atol=1e-6)


def test_denoising_removes_the_last_noise() -> None:
    sde, index = VESDE(), torch.arange(500)
    x = sde.prior_sample(normal(0, "prior", 0, index, (16,)))
    # The grid ends at sigma = 0.4, so that the remaining noise is large.
    eps = float(sde.time_of_log_snr(-torch.tensor(0.4, dtype=torch.float64).log()))
    noisy, clean = (
        PredictorCorrector(LogSNRGrid(200, eps), EulerMaruyama(), NoCorrector(), denoise=denoise)(
            GaussianScore(sde), x, AddressedNoise(0, index)
        ).samples
        for denoise in (False, True)
    )
    assert float(noisy.std()) == pytest.approx((0.25 + 0.16) ** 0.5, rel=0.03)
    assert float(clean.std()) == pytest.approx(0.25 / (0.25 + 0.16) ** 0.5, rel=0.03)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(UserError, match="snr"):
        Langevin(snr=0.0)
    with pytest.raises(UserError, match="norm"):
        Langevin(norm="max")
    with pytest.raises(UserError, match="steps"):
        AnnealedLangevin(steps=-1)
