"""The variance-exploding SDE (Song et al. 2021, eq. 9 and appendix C).

    sigma(t) = sigma_min (sigma_max / sigma_min)^t,    g(t)^2 = 2 sigma(t)^2 ln(sigma_max / sigma_min),    f = 0.

The paper starts the process at x_0 + sigma_min z, not at x_0: sigma(0) = sigma_min. The discrete chain is that of SMLD,
with noise levels at the ends of each interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .base import SDE


@dataclass(frozen=True)
class VESDE(SDE):
    """Variance exploding; no drift.

    Args:
        sigma_min: smallest noise level, > 0, in units of the data.
        sigma_max: largest noise level; the paper uses the largest distance between two training images.
        prior_mean: mean of the prior: one number, or one per channel (the first dimension after the batch).
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    prior_mean: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise UserError(
                f"VESDE needs 0 < sigma_min < sigma_max, got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}"
            )

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.ones_like(t)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.sigma_min * torch.exp(t * self._log_ratio)

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.zeros_like(t)

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 2 * self._log_ratio * self.sigma(t).square()

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return (-log_snr - math.log(self.sigma_min)) / self._log_ratio

    def drift(self, x: Float[Tensor, "b *d"], t: Tensor) -> Float[Tensor, "b *d"]:
        return torch.zeros_like(x)

    def discretize(self, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """SMLD's step (eq. 8): f = 0, G^2 = sigma(t)^2 - sigma(s)^2."""
        # sigma_t^2 (1 - (sigma_s/sigma_t)^2) keeps its digits where the two are close.
        big_g = self.sigma(t) * torch.sqrt(-torch.expm1(-2 * self._log_ratio * (t - s)))
        return torch.zeros_like(x), big_g

    def prior_mean_like(self, x: Float[Tensor, "b *d"]) -> Tensor:
        mean = torch.as_tensor(self.prior_mean, dtype=x.dtype, device=x.device)
        if mean.ndim == 0:
            return mean
        if x.ndim < 2 or mean.numel() != x.shape[1]:
            raise UserError(
                f"prior_mean has {mean.numel()} values, the data {tuple(x.shape[1:])}: give one per channel"
            )
        return mean.reshape(1, -1, *(1,) * (x.ndim - 2))
