"""Sampling with an average velocity (MeanFlow, Geng et al. 2025, eq. 12), one evaluation for each step.

    x_s = x_t - (t - s) u(x_t, s, t),    the last step to s = 0.

The model is told where a step ends. A model that cannot be told is that of the instantaneous velocity; this is then
Euler's method on the probability-flow ODE.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ...sde import SDE
from .loop import GridSampler
from .run import SolverRun
from .schedule import TimeGrid


class EvenGrid(TimeGrid):
    """N times from T, evenly spaced, the last of which is one step away from 0.

    Args:
        steps: N.
    """

    def __init__(self, steps: int = 1) -> None:
        super().__init__(steps)

    def __call__(self, sde: SDE) -> Float64[Tensor, " n"]:
        return self.times(sde, torch.arange(self.steps, dtype=torch.float64) / self.steps)

    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        return sde.T * (1 - fraction)


class MeanFlowSampler(GridSampler):
    """Step along average velocities: exact for any number of steps if the model is exact. N times cost N evaluations.

    Args:
        grid: times at which steps begin.
        denoise: take the last step to 0; False ends at the last time.
        trajectory_frames: number of states to keep.
        compile: compile whole steps.
    """

    @property
    def convergence_order(self) -> int:
        """The order of Euler's method, for models of the instantaneous velocity."""
        return 1

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        x = self._jump(run, x, run.times[i], run.times[i + 1])
        return x, x

    def finish(
        self, run: SolverRun, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"]
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        if not self.denoise:
            return x, x_mean
        x = self._jump(run, x, run.times[-1], torch.zeros_like(run.times[-1]))
        return x, x

    @staticmethod
    def _jump(run: SolverRun, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        pull = run.sde.diffusion_squared(t) / 2
        return x - (t - s) * (run.sde.drift(x, t) - pull * run.score(x, t, until=s))
