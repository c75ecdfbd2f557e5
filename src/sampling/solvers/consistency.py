"""Sampling with a consistency function (Song et al. 2023, algorithm 1), one evaluation for each time.

    x_0 <- f(x_T, T);   for each later time t:  x_0 <- f(alpha x_0 + sigma z, t),

where f is the data prediction of a net trained by ``objective=ect``. One time is the one-step sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ...errors import UserError
from ...sde import SDE
from .loop import GridSampler
from .run import SolverRun
from .schedule import TimeGrid


class GivenTimes(TimeGrid):
    """T and the times after it.

    Args:
        after: decreasing times in (0, T), not empty.
    """

    def __init__(self, after: Sequence[float]) -> None:
        if list(after) != sorted(set(after), reverse=True):
            raise UserError(f"sampler.times={list(after)}: give decreasing times")
        super().__init__(len(after) + 1, after[-1])
        self.after = tuple(after)

    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        if self.after[0] >= sde.T:
            raise UserError(f"sampler.times starts with {self.after[0]}, which must be smaller than T={sde.T}")
        return torch.tensor([sde.T, *self.after], dtype=torch.float64)


class Consistency(GridSampler):
    """One to a few evaluations of a consistency function.

    Args:
        grid: the times of the evaluations; its ``steps`` are the evaluations.
        times: times after T, in place of those of the grid; None or empty uses the grid.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler. Without ``denoise`` the noise of
            the last time remains.

    Raises:
        UserError: times do not decrease.
    """

    def __init__(self, grid: TimeGrid, times: Sequence[float] | None = None, **settings: Any) -> None:
        super().__init__(GivenTimes(times) if times else grid, **settings)

    @property
    def convergence_order(self) -> None:
        return None

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        data = run.denoise(x, run.times[i])
        return run.alpha[i + 1] * data + run.sigma[i + 1] * run.draw("renoise", i, x)(), data
