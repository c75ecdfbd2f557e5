"""Nets that predict the data, a velocity or another linear combination F = c_x E[x_0 | x_t] + c_z E[z | x_t].

With x_t = alpha x_0 + sigma z and score = -E[z | x_t] / sigma, solving for the score gives

    score = (c_x x - alpha F) / (sigma (alpha c_z - sigma c_x)),

a case of the equation in ``parametrization``. x is not scaled before the net, so use these with processes that keep
x_t at the scale of the data (not VE or EDM).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SDE
from .parametrization import Coefficients, Unconditional


class _Prediction(Unconditional, ABC):
    """A net that predicts c_x x_0 + c_z z.

    Args:
        time_scale: what t / T is multiplied with before the net's embedding.
    """

    noise_scale = "time"

    def __init__(self, time_scale: float = 999.0) -> None:
        self.time_scale = time_scale

    @abstractmethod
    def target(self, sde: SDE, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        """c_x and c_z at t, each in its shape."""

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        c_x, c_z = self.target(sde, t)
        scale = sigma * (alpha * c_z - sigma * c_x)
        return Coefficients(c_x / scale, -alpha / scale, torch.ones_like(t), t * (self.time_scale / sde.T))


class X0Prediction(_Prediction):
    """F = x_0, so score = (alpha F - x) / sigma^2: at small sigma, errors of the net are amplified by 1 / sigma^2."""

    def target(self, sde: SDE, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), torch.zeros_like(t)


class VPrediction(_Prediction):
    """F = v = alpha z - sigma x_0 (Salimans and Ho 2022, section 4)."""

    def target(self, sde: SDE, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        return -sde.sigma(t), sde.alpha(t)


class VelocityPrediction(_Prediction):
    """F = dx_t/dt = alpha' x_0 + sigma' z, the target of flow matching; for FlowSDE, z - x_0."""

    def target(self, sde: SDE, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        return path_velocity(sde, t)


def path_velocity(sde: SDE, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
    """alpha' and sigma' at t, each in its shape: the velocity of x_t = alpha x_0 + sigma z is alpha' x_0 + sigma' z."""
    alpha, sigma, rate = sde.alpha(t), sde.sigma(t), sde.log_alpha_derivative(t)
    # g^2 = 2 sigma sigma' - 2 sigma^2 alpha' / alpha, solved for sigma'.
    return alpha * rate, sde.diffusion_squared(t) / (2 * sigma) + sigma * rate
