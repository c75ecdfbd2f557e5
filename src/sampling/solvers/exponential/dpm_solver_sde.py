"""SDE-DPM-Solver++, first order and 2M (Lu et al. 2022b): exponential integration of the reverse SDE.

With lambda = ln(alpha / sigma), h = lambda_s - lambda_t from time t to s, and the data prediction D taken as linear,

    x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s (1 - e^-2h) (D_t + (D_t - D_r) / (2 r)) + sigma_s sqrt(1 - e^-2h) z,

where r h is the length of the previous step, from D_r to D_t. The first order keeps D constant: ancestral sampling with
the variance of p(x_s | x_t, x_0).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..run import SolverRun
from .multistep import MultistepSampler


class DPMSolverSDE(MultistepSampler):
    """SDE-DPM-Solver++ of order 1 or 2 (2M); arguments as in MultistepSampler."""

    orders = (1, 2)

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        data = run.predict_data(x, i, keep=self.order)
        h = run.log_snr[i + 1] - run.log_snr[i]
        if self.order == 2 and i > 0:
            r = (run.log_snr[i] - run.log_snr[i - 1]) / h
            data = data + (data - run.data[i - 1]) / (2 * r)
        variance = -torch.expm1(-2 * h)
        x_mean = run.sigma[i + 1] / run.sigma[i] * torch.exp(-h) * x + run.alpha[i + 1] * variance * data
        return x_mean + run.sigma[i + 1] * variance.sqrt() * run.draw("solver", i, x)(), x_mean
