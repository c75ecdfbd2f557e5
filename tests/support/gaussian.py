"""Gaussian data, for which every score, posterior and likelihood is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from src.sde import SDE, expand


@dataclass(frozen=True)
class GaussianScore:
    """The exact score of data N(mean, std^2 I) under ``sde``."""

    sde: SDE
    mean: float = 0.25
    std: float = 0.5

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return -(x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)


@dataclass(frozen=True)
class GaussianFlowMap(GaussianScore):
    """The "score" whose data prediction is the end of the probability-flow ODE through (x, t), not the posterior mean.

    The map is affine, from N(alpha mean, alpha^2 std^2 + sigma^2) to N(mean, std^2). ``noise`` other than 1 makes it
    wrong, and keeps it the identity at t = 0.
    """

    noise: float = 1.0

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        spread = (alpha**2 * self.std**2 + self.noise * sigma**2) ** 0.5
        end = self.mean + self.std * (x - alpha * self.mean) / spread
        return (alpha * end - x) / sigma**2
