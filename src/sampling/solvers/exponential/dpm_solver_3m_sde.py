"""SDE-DPM-Solver++(3M), as in k-diffusion: two earlier data predictions, one evaluation a step.

With h the length of the step in lambda = ln(alpha / sigma), r_0 h and r_1 h the lengths of the two previous steps, and
D, D_1, D_2 the latest data predictions,

    x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s ((1 - e^-2h) D + p_2 d_1 - p_3 d_2) + sigma_s sqrt(1 - e^-2h) z,
    d_10 = (D - D_1) / r_0,                          d_11 = (D_1 - D_2) / r_1,
    d_1 = d_10 + (d_10 - d_11) r_0 / (r_0 + r_1),    d_2 = (d_10 - d_11) / (r_0 + r_1),
    p_2 = (e^-2h - 1) / 2h + 1,                      p_3 = p_2 / 2h - 1 / 2.

p_3 is half of the weight that integrates the quadratic exactly, so the order is 2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..loop import GridSampler
from ..run import SolverRun


class DPMSolver3MSDE(GridSampler):
    """SDE-DPM-Solver++(3M); N times cost N evaluations; arguments as in GridSampler."""

    reach = 3

    @property
    def convergence_order(self) -> int:
        return 2

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        data = run.predict_data(x, i, keep=3)
        h = run.log_snr[i + 1] - run.log_snr[i]
        variance = -torch.expm1(-2 * h)
        p_2 = 1 - variance / (2 * h)
        shift = variance * data
        if i > 0:
            r_0 = (run.log_snr[i] - run.log_snr[i - 1]) / h
            d_1 = (data - run.data[i - 1]) / r_0
            if i > 1:
                r_1 = (run.log_snr[i - 1] - run.log_snr[i - 2]) / h
                d_2 = (d_1 - (run.data[i - 1] - run.data[i - 2]) / r_1) / (r_0 + r_1)
                d_1 = d_1 + r_0 * d_2
                shift = shift - (p_2 / (2 * h) - 0.5) * d_2
            shift = shift + p_2 * d_1
        x_mean = run.sigma[i + 1] / run.sigma[i] * torch.exp(-h) * x + run.alpha[i + 1] * shift
        return x_mean + run.sigma[i + 1] * variance.sqrt() * run.draw("solver", i, x)(), x_mean
