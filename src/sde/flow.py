"""The straight path of flow matching (Lipman et al. 2023; rectified flow, Liu et al. 2023) as one more SDE.

    alpha(t) = 1 - t,    sigma(t) = t,    f = -x / (1 - t),    g(t)^2 = 2 t / (1 - t).

Its probability-flow ODE is the flow itself, dx/dt = E[z - x_0 | x_t], noise minus data. At t = 1 no data remain and
the drift is infinite; the process therefore ends at T slightly below 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .base import SDE


@dataclass(frozen=True)
class FlowSDE(SDE):
    """Linear interpolation between data and noise.

    Args:
        T: end of the process, < 1. The prior N(0, T^2 I) ignores the remaining mean (1 - T) x_0; drift and g^2 grow
            like 1 / (1 - T).
    """

    T: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.T < 1:
            raise UserError(f"FlowSDE needs 0 < T < 1, got T={self.T}: at t = 1 its drift is infinite")

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 1 - t

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return t

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return -1 / (1 - t)

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 2 * t / (1 - t)

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.sigmoid(-log_snr)
