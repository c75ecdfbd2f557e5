"""The sub-variance-preserving SDE (Song et al. 2021, eq. 12 and appendix C).

alpha is VP's; sigma(t) = 1 - exp(-B(t)) is VP's variance used as a standard deviation, always below VP's sigma.
The drift is VP's; g(t)^2 = beta(t) (1 - exp(-2 B(t))).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from src.sde.vp import LinearBetaSDE


@dataclass(frozen=True)
class SubVPSDE(LinearBetaSDE):
    """Sub-variance preserving; the prior is N(0, I)."""

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return -torch.expm1(-self.integrated_beta(t))

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.beta(t) * -torch.expm1(-2 * self.integrated_beta(t))

    def _prior_sigma(self) -> float:
        return 1.0
