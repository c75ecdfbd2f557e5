"""The exact Gaussian mixture: an independent implementation of its score, and its density."""

from __future__ import annotations

import pytest
import torch

from src.sampling.mixture import GaussianMixture
from src.sde import EDMSDE, SDE, VESDE, VPSDE
from tests.support.mixture import CENTERS, LOG_WEIGHTS, STDS, MixtureScore

X = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sde", [VESDE(), VPSDE(), EDMSDE()], ids=lambda sde: type(sde).__name__)
def test_score_is_the_gradient_of_the_density(sde: SDE) -> None:
    mixture = GaussianMixture(sde, LOG_WEIGHTS.exp(), CENTERS, STDS)
    t = torch.linspace(0.01, sde.T, 7, dtype=torch.float64)
    for k in range(len(t)):
        torch.testing.assert_close(mixture(X, t)[k : k + 1], MixtureScore(sde)(X[k : k + 1], t[k]))
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(x, t).sum(), x)
    torch.testing.assert_close(mixture(X, t), gradient)
    torch.testing.assert_close(mixture(X, t[3])[3], mixture(X, t)[3])


def test_density_integrates_to_one() -> None:
    mixture = GaussianMixture(VPSDE(), LOG_WEIGHTS.exp(), CENTERS, STDS)
    axis = torch.linspace(-5, 5, 201, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    for t in (0.01, 0.4):
        mass = mixture.log_prob(plane, torch.tensor(t, dtype=torch.float64)).exp().sum() * 0.05**2
        assert float(mass) == pytest.approx(1, abs=1e-6)
