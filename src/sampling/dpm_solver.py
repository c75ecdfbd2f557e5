"""DPM-Solver++ multistep, 2M and 3M (Lu et al. 2022b, algorithm 2): one evaluation a step, any SDE.

    x_s = (sigma_s / sigma_t) x_t + alpha_s sum_j w_j D_j,    j over the last ``order`` times.

Order 2 is the paper's. For order 3 the authors' code and those that follow it give the second difference half the
weight that integrating the quadratic gives, which leaves order 2; here the quadratic is integrated.

The first steps have fewer predictions to look back on and are of lower order. So are the last ones, for stability at
few steps: the final denoising is the first-order step to sigma = 0, the step before it is of order 2 at most.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from src.errors import UserError
from src.sampling.exponential import integrate
from src.sampling.loop import GridSampler, Run
from src.sampling.schedule import TimeGrid


class DPMSolver(GridSampler):
    """DPM-Solver++ in data prediction; N times cost N evaluations.

    Args:
        grid: times from T to eps; uniform in log-SNR in the paper.
        order: 1 (DDIM), 2 (2M) or 3 (3M).
        denoise: finish with the posterior mean at eps.
        trajectory_frames: how many states to keep.
    """

    def __init__(self, grid: TimeGrid, order: int = 2, denoise: bool = True, trajectory_frames: int = 0) -> None:
        super().__init__(grid, denoise, trajectory_frames)
        if order not in (1, 2, 3):
            raise UserError(f"sampler.order is {order}: DPM-Solver++ has orders 1, 2 and 3")
        self.order = order

    def step(self, run: Run, x: Float[Tensor, "b *d"], i: int) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        run.predict_data(x, i, keep=self.order)
        order = min(self.order, i + 1, len(run.times) - i)
        x = integrate(run, x, i, range(i, i - order, -1))
        return x, x
