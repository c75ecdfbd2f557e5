"""Second-order ancestral sampling: DPM-Solver++(2S) to a lower noise level, then noise (k-diffusion), for any SDE.

With y = x / alpha and l = sigma / alpha, a step from l_t to l_s adds noise of u^2 = eta^2 l_s^2 (1 - l_s^2 / l_t^2)
and goes down to l_d^2 = l_s^2 - u^2 first. With h = ln(l_t / l_d) and the middle level l_m = sqrt(l_t l_d),

    y_m = e^(-h/2) y + (1 - e^(-h/2)) D(y, l_t),
    y_s = e^-h y + (1 - e^-h) D(y_m, l_m) + u z.

The exact flow down and the noise keep the marginals, so samples have the order of the flow's solver.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..run import SolverRun
from ..schedule import TimeGrid
from .ancestral import AncestralSampler


class DPMSolver2SAncestral(AncestralSampler):
    """DPM-Solver++(2S) ancestral; N times cost 2 N - 1 evaluations.

    Args:
        grid: times from T to eps.
        eta: share of the noise, in [0, 1]: 0 is DPM-Solver++(2S) on the ODE.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler.

    Raises:
        UserError: eta is not in [0, 1].
    """

    def __init__(self, grid: TimeGrid, eta: float = 1.0, **settings: Any) -> None:
        super().__init__(grid, eta, **settings)

    @property
    def convergence_order(self) -> int:
        return 2

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        # This share of sigma_s^2 is fresh noise; the flow goes down to the rest.
        fresh = self.eta**2 * -torch.expm1(-2 * (run.log_snr[i + 1] - run.log_snr[i]))
        h = run.log_snr[i + 1] - run.log_snr[i] - torch.log1p(-fresh) / 2
        middle = run.sde.time_of_log_snr(run.log_snr[i] + h / 2)
        alpha, decay = run.alpha[i], torch.exp(-h / 2)
        y = decay * x / alpha + (1 - decay) * run.denoise(x, run.times[i])
        data = run.denoise(run.sde.alpha(middle) * y, middle)
        x_mean = run.alpha[i + 1] * (torch.exp(-h) * x / alpha - torch.expm1(-h) * data)
        if self.eta == 0:
            return x_mean, x_mean
        return x_mean + run.sigma[i + 1] * fresh.sqrt() * run.draw("solver", i, x)(), x_mean
