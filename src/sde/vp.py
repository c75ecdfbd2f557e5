"""The variance-preserving SDE (Song et al. 2021, eq. 11) and its DDPM chain.

beta(t) = beta_0 + t (beta_1 - beta_0),    B(t) = integral of beta from 0 to t,
alpha(t) = exp(-B(t) / 2),    sigma(t)^2 = 1 - exp(-B(t)),    f = -beta(t) x / 2,    g(t)^2 = beta(t).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..runtime.precision import widest_float
from .base import SDE, expand


@dataclass(frozen=True)
class LinearBetaSDE(SDE):
    """Base of VP and sub-VP: the linear beta(t) and the scale of the data.

    Args:
        beta_min: beta(0), > 0.
        beta_max: beta(1), > beta_min.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max:
            raise UserError(
                f"{type(self).__name__} needs 0 < beta_min < beta_max, "
                f"got beta_min={self.beta_min}, beta_max={self.beta_max}"
            )

    def beta(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """beta(t), the rate at which the scale of the data decays."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integrated_beta(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """B(t), the integral of beta from 0 to t; alpha = exp(-B/2)."""
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def time_of_integrated_beta(self, b: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """The time at which B(t) = b."""
        # B is quadratic; this form of its root does not cancel.
        slope = self.beta_max - self.beta_min
        return 2 * b / (torch.sqrt(self.beta_min**2 + 2 * slope * b) + self.beta_min)

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.exp(-0.5 * self.integrated_beta(t))

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return -0.5 * self.beta(t)


@dataclass(frozen=True)
class VPSDE(LinearBetaSDE):
    """Variance preserving; the prior is N(0, I)."""

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # expm1: 1 - exp(-B) loses every digit near t = 0.
        return torch.sqrt(-torch.expm1(-self.integrated_beta(t)))

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.beta(t)

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # alpha^2 = sigmoid(2 lambda).
        return self.time_of_integrated_beta(torch.nn.functional.softplus(-2 * log_snr))

    def discretize(self, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """DDPM's step (eq. 10) with beta_i = beta(t) (t - s): f = (sqrt(1 - beta_i) - 1) x, G^2 = beta_i.

        If the interval is so long that beta_i would reach 1, the exact transition is used instead,
        1 - beta_i = (alpha_t / alpha_s)^2, so that grids of few steps stay defined.
        """
        beta = self._chain_beta(t, s)
        return x * expand(torch.sqrt(1 - beta) - 1, x), beta.sqrt()

    def ancestral_chain(self, t: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor, Tensor]:
        """DDPM's chain: a = sqrt(1 - beta_i), v = beta_i, and beta_i, the larger of its two variances, for the noise.

        (Ho et al. 2020, sec. 3.2; Song et al. 2021, appendix F.) Mean and noise must come from the same chain: with
        the mean of the exact transition, whose variance is smaller, samples have too much variance.
        """
        beta = self._chain_beta(t, s)
        return torch.sqrt(1 - beta), beta, beta

    def chain_marginal(self, index: Float[Tensor, "*b"], steps: int) -> tuple[Tensor, Tensor]:
        """DDPM's chain: alpha_i^2 = prod (1 - beta_j) over j <= i, with N values beta_j from beta_0 / N to beta_1 / N.

        (Song et al. 2021, appendix B; Ho et al. 2020, eq. 4.) At i = 0, sigma_i and sigma((i + 1) / N) are 4.9 %
        apart.
        """
        # The table is made on the device of the index, which is not read on the host.
        betas = torch.linspace(
            self.beta_min / steps, self.beta_max / steps, steps, dtype=widest_float(index.device), device=index.device
        )
        log_alpha_squared = torch.log1p(-betas).cumsum(0)[index.long()]
        alpha, sigma = torch.exp(0.5 * log_alpha_squared), torch.sqrt(-torch.expm1(log_alpha_squared))
        return alpha.to(index.dtype), sigma.to(index.dtype)

    def _chain_beta(self, t: Tensor, s: Tensor) -> Tensor:
        beta = self.beta(t) * (t - s)
        exact = -torch.expm1(self.integrated_beta(s) - self.integrated_beta(t))
        return torch.where(beta < 1, beta, exact)

    def _prior_sigma(self) -> float:
        # The paper's prior; sigma(1)^2 differs from 1 by alpha(1)^2, 4e-5 at the default betas.
        return 1.0
