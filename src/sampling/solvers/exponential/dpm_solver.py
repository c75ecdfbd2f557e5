"""DPM-Solver++ multistep, 2M and 3M (Lu et al. 2022b, algorithm 2): one evaluation a step, any SDE.

    x_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,    j over the last ``order`` times.

Order 2 is the paper's. For order 3 the authors' code and those that follow it give the second difference half the
weight that integrating the quadratic gives, which leaves order 2; here the quadratic is integrated.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..run import SolverRun
from .multistep import MultistepSampler, integrate


class DPMSolver(MultistepSampler):
    """DPM-Solver++ in data prediction, of order 1 (DDIM), 2 (2M) or 3 (3M); arguments as in MultistepSampler."""

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        run.predict_data(x, i, keep=self.order)
        x = integrate(run, x, i, range(i, i - self.order_at(run, i), -1))
        return x, x
