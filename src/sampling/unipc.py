"""UniPC (Zhao et al. 2023): a multistep predictor whose next evaluation also corrects it, so correction costs nothing.

    x^P_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,   D at t and the p - 1 times before     (UniP-p)
    D_s = D(x^P_s)                                             the one evaluation of the step
    x_s   = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,   D at s as well                        (UniC-p)

The corrector raises the order from p to p + 1 (their theorem 3.1). With all its weights solved for, their B(h) drops
out, and what is left is the exact integral of the interpolating polynomial; for two nodes they set rho = 1/2.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from src.errors import UserError
from src.sampling.exponential import integrate
from src.sampling.loop import GridSampler, Run
from src.sampling.schedule import TimeGrid


class UniPC(GridSampler):
    """UniPC-p in data prediction; N times cost N evaluations.

    Args:
        grid: times from T to eps.
        order: p, from 1 to 3; lower at the first steps and the last, as in DPM-Solver++.
        denoise: finish with the posterior mean at eps.
        trajectory_frames: how many states to keep.
    """

    def __init__(self, grid: TimeGrid, order: int = 3, denoise: bool = True, trajectory_frames: int = 0) -> None:
        super().__init__(grid, denoise, trajectory_frames)
        if order not in (1, 2, 3):
            raise UserError(f"sampler.order is {order}: UniPC has orders 1, 2 and 3")
        self.order = order

    def step(self, run: Run, x: Float[Tensor, "b *d"], i: int) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        run.predict_data(x, i, keep=self.order + 1)
        if i > 0:
            before = i - 1
            order = self._order(run, before)
            x = integrate(run, run.states.pop(before), before, [*range(before, before - order, -1), i])
            x, _ = run.constrain(x, x, run.times[i], "corrector", i)
        run.states[i] = x
        x = integrate(run, x, i, range(i, i - self._order(run, i), -1))
        return x, x

    def _order(self, run: Run, i: int) -> int:
        return min(self.order, i + 1, len(run.times) - i)
