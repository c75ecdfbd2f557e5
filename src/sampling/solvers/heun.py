"""Heun's method on the probability-flow ODE, deterministic or with churn (Karras et al. 2022, algorithms 1 and 2).

In y = x / alpha and the noise level l = sigma / alpha the ODE of every SDE of this family is the same (their eq. 1):

    dy/dl = (y - D) / l = -sigma score(x, t),

whose right side is computed from the score, without cancellation. One step from t to the next time s:

    raise the noise: l' = (1 + gamma) l,  y <- y + sqrt(l'^2 - l^2) S_noise z     (gamma = 0 without churn)
    Euler:           y_s = y + (l_s - l') d,             d = slope at (y, l')
    trapezoid:       y_s = y + (l_s - l') (d + d_s) / 2, d_s = slope at (Euler's y_s, l_s)

The last step, to l = 0, is Euler's, which is the posterior mean: N times cost 2 N - 1 evaluations.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from .loop import GridSampler
from .run import SolverRun
from .schedule import TimeGrid


class Heun(GridSampler):
    """EDM's sampler for any SDE.

    Args:
        grid: times from T to eps.
        s_churn: S_churn >= 0, the amount of fresh noise over the whole run; 0 is deterministic (algorithm 1).
        s_min: smallest noise level sigma / alpha with churn.
        s_max: largest noise level with churn.
        s_noise: S_noise, standard deviation of the fresh noise; values slightly above 1 compensate for lost detail.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler.
    """

    def __init__(
        self,
        grid: TimeGrid,
        s_churn: float = 0.0,
        s_min: float = 0.0,
        s_max: float = math.inf,
        s_noise: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(grid, **settings)
        if s_churn < 0:
            raise UserError(f"sampler.s_churn is {s_churn}: it must not be negative (0 is deterministic)")
        self.s_churn = s_churn
        self.s_min = s_min
        self.s_max = s_max
        self.s_noise = s_noise

    @property
    def convergence_order(self) -> int:
        return 2

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        x, t = self._churn(run, x, i)
        alpha, sigma = run.sde.alpha(t), run.sde.sigma(t)
        alpha_s, sigma_s = run.alpha[i + 1], run.sigma[i + 1]
        dl = sigma_s / alpha_s - sigma / alpha
        y, slope = x / alpha, -sigma * run.score(x, t)
        slope_s = -sigma_s * run.score(alpha_s * (y + dl * slope), run.times[i + 1])
        x = alpha_s * (y + dl / 2 * (slope + slope_s))
        return x, x

    def finish(
        self, run: SolverRun, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"]
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        if not self.denoise:
            return x, x_mean
        x = run.denoise(*self._churn(run, x, len(run.times) - 1))
        return x, x

    def _churn(self, run: SolverRun, x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Add fresh noise that raises the level by 1 + gamma, at most to that of T; return the new state and time."""
        t, alpha = run.times[i], run.alpha[i]
        gamma = min(self.s_churn / run.total, math.sqrt(2) - 1)
        if gamma == 0:
            return x, t
        level = run.sigma[i] / alpha
        churned = (level >= self.s_min) & (level <= self.s_max)
        t = torch.where(churned, run.sde.time_of_log_snr(-((1 + gamma) * level).log()).clamp(max=run.sde.T), t)
        raised = run.sde.alpha(t)
        added = ((run.sde.sigma(t) / raised).square() - level.square()).clamp(min=0).sqrt() * churned
        return raised * (x / alpha + self.s_noise * added * run.draw("churn", i, x)()), t
