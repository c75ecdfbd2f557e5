"""The process of EDM (Karras et al. 2022, sec. 3): alpha = 1, sigma(t) = t, time is the noise level itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SDE


@dataclass(frozen=True)
class EDMSDE(SDE):
    """dx = sqrt(2 t) dw for t from 0 to T, the largest noise level, in units of data in [-1, 1]."""

    T: float = 80.0

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.ones_like(t)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return t

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.zeros_like(t)

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 2 * t

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.exp(-log_snr)

    def discretize(self, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """The exact step: f = 0, G^2 = t^2 - s^2."""
        return torch.zeros_like(x), torch.sqrt((t - s) * (t + s))
