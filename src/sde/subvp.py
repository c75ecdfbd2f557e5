"""The sub-variance-preserving SDE (Song et al. 2021, eq. 12 and appendix C).

alpha is VP's; sigma(t) = 1 - exp(-B(t)) is VP's variance used as a standard deviation, always below VP's sigma.
The drift is VP's; g(t)^2 = beta(t) (1 - exp(-2 B(t))).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .vp import LinearBetaSDE


@dataclass(frozen=True)
class SubVPSDE(LinearBetaSDE):
    """Sub-variance preserving; the prior is N(0, I)."""

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return -torch.expm1(-self.integrated_beta(t))

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.beta(t) * -torch.expm1(-2 * self.integrated_beta(t))

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # e^lambda = alpha / (1 - alpha^2) solved for sigma = 1 - alpha^2 and alpha; of the two forms of B = -2 ln alpha
        # the one that does not cancel.
        snr = log_snr.exp()
        sigma = 2 / (1 + torch.sqrt(1 + (2 * snr).square()))
        b = torch.where(sigma < 0.5, -torch.log1p(-sigma), -2 * (snr * sigma).log())
        return self.time_of_integrated_beta(b)

    def _prior_sigma(self) -> float:
        return 1.0
