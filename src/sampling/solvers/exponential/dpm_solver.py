"""DPM-Solver++ multistep, 2M and 3M (Lu et al. 2022b, algorithm 2): one evaluation a step, any SDE.

    x_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,    j over the last ``order`` times.

Order 2 is that of the paper. For order 3 the code of the authors, and other code after it, halves the weight of the
second difference, which reduces the order to 2; here the quadratic polynomial is integrated exactly.
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
