"""DDIM (Song et al. 2020, "Denoising Diffusion Implicit Models", eqs. 12 and 16), for any SDE.

With h = ln(alpha_s / sigma_s) - ln(alpha_t / sigma_t) from time t to s and the data prediction D,

    x_s = alpha_s D + sqrt(sigma_s^2 - eta^2 v) (x_t - alpha_t D) / sigma_t + eta sqrt(v) z,
    v = sigma_s^2 (1 - e^-2h).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..run import SolverRun
from ..schedule import TimeGrid
from .ancestral import AncestralSampler


class DDIM(AncestralSampler):
    """DDIM; N times cost N evaluations.

    Args:
        grid: times from T to eps.
        eta: share of the noise, in [0, 1]: 0 is deterministic, 1 is ancestral sampling with the posterior variance.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler.

    Raises:
        UserError: eta is not in [0, 1].
    """

    def __init__(self, grid: TimeGrid, eta: float = 0.0, **settings: Any) -> None:
        super().__init__(grid, eta, **settings)

    @property
    def convergence_order(self) -> int:
        return 1

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        data = run.denoise(x, run.times[i])
        variance = -torch.expm1(-2 * (run.log_snr[i + 1] - run.log_snr[i]))
        kept = run.sigma[i + 1] / run.sigma[i] * torch.sqrt(1 - self.eta**2 * variance)
        x_mean = kept * x + (run.alpha[i + 1] - kept * run.alpha[i]) * data
        if self.eta == 0:
            return x_mean, x_mean
        return x_mean + self.eta * run.sigma[i + 1] * variance.sqrt() * run.draw("solver", i, x)(), x_mean
