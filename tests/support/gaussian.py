"""Gaussian data: scores, flow maps and average velocities in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from src.sde import SDE, FlowSDE, expand


@dataclass(frozen=True)
class GaussianScore:
    """Exact score of data N(mean, std^2 I) under ``sde``."""

    sde: SDE
    mean: float = 0.25
    std: float = 0.5

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return -(x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)


@dataclass(frozen=True)
class GaussianFlowMap(GaussianScore):
    """Score whose denoised value is the end of the probability-flow ODE from (x, t) instead of the posterior mean.

    The map is affine, from N(alpha mean, alpha^2 std^2 + sigma^2) to N(mean, std^2). A ``noise`` other than 1 makes it
    wrong; it stays the identity at t = 0.
    """

    noise: float = 1.0

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        spread = (alpha**2 * self.std**2 + self.noise * sigma**2) ** 0.5
        end = self.mean + self.std * (x - alpha * self.mean) / spread
        return (alpha * end - x) / sigma**2


@dataclass(frozen=True)
class GaussianAverageVelocity(GaussianScore):
    """Exact average velocity of the flow SDE's ODE: x_r - alpha_r mean = (x_t - alpha_t mean) S_r / S_t.

    S^2 = alpha^2 std^2 + sigma^2. A ``std`` other than that of the data makes it wrong. Called as a score, it returns
    the score whose ODE has this velocity.
    """

    sde: FlowSDE

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        assert cond is not None
        difference = self.sde.drift(x, t) - self.average_velocity(x, cond["until"], t)
        return 2 * difference / expand(self.sde.diffusion_squared(t), x)

    def average_velocity(self, x: Tensor, r: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        def spread(t: Tensor) -> Tensor:
            return ((1 - t) ** 2 * self.std**2 + t**2) ** 0.5

        # (S_t^2 - S_r^2) / (t - r), which stays finite as r approaches t.
        slope = (t + r - 2) * self.std**2 + t + r
        rate = slope / ((spread(t) + spread(r)) * spread(t))
        return (x - expand(1 - t, x) * self.mean) * expand(rate, x) - self.mean
