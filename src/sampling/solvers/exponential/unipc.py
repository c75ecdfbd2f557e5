"""UniPC (Zhao et al. 2023): a multistep predictor whose next evaluation also corrects it, so correction costs nothing.

    x^P_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,   D at t and the p - 1 times before     (UniP-p)
    D_s = D(x^P_s)                                             the one evaluation of the step
    x_s   = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,   D at s as well                        (UniC-p)

The corrector raises the order from p to p + 1. If all weights are solved for, B(h) of the paper cancels, and the result
is the exact integral of the interpolating polynomial; for two nodes the paper sets rho = 1/2.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..run import SolverRun
from .multistep import MultistepSampler, integrate


class UniPC(MultistepSampler):
    """UniPC-p in data prediction, p from 1 to 3; arguments as in MultistepSampler, order is p."""

    @property
    def convergence_order(self) -> int:
        # The first steps, of lower order, limit UniPC-3 to 3.
        return min(self.order + 1, 3)

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        run.predict_data(x, i, keep=self.order + 1)
        if i > 0:
            before = i - 1
            order = self.order_at(run, before)
            x = integrate(run, run.states.pop(before), before, [*range(before, before - order, -1), i])
            x, _ = run.constrain(x, x, run.times[i], "corrector", i)
        run.states[i] = x
        x = integrate(run, x, i, range(i, i - self.order_at(run, i), -1))
        return x, x
