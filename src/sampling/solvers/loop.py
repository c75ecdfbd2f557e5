"""Base class of samplers on a time grid: the loop from T to eps, the constraint, the callback, the final denoising.

    for each time t of the grid, s the next:  x <- step(x, t -> s), constrained
    x <- E[x_0 | x_eps = x]                   (removes the remaining noise)

A sampler implements ``step`` and may override ``finish``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ...noise import NoiseSource
from ...sde import SDE
from ...sde.score_model import Model
from ..output import Callback, Control, SampleOutput, Sampler, SamplerStep, count
from ..trajectory import Trajectory
from .compiled import CompiledStep
from .run import SolverRun
from .schedule import TimeGrid
from .times import TimeTable


class GridSampler(Sampler):
    """A sampler on a time grid.

    Args:
        grid: times from T to eps.
        denoise: finish with the posterior mean at eps (one evaluation); otherwise noise of sigma(eps) remains.
        trajectory_frames: number of states to keep, evenly spaced in steps; 0 for none.
        compile: compile whole steps, arithmetic and noise with the net (see ``compiled``).
    """

    reach: int = 0
    """Number of times before and after its own time that a step reads, beside the end of the step."""

    def __init__(self, grid: TimeGrid, denoise: bool = True, trajectory_frames: int = 0, compile: bool = False) -> None:
        self.grid = grid
        self.denoise = denoise
        self.trajectory_frames = trajectory_frames
        self._take_step = CompiledStep(self.step, self.reach) if compile else self.step

    @property
    def described(self) -> str:
        return f"{super().described} {self.grid.steps} steps{'' if self.denoise else ', not denoised'}"

    def check(self, sde: SDE) -> None:
        self.grid(sde)

    @abstractmethod
    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """Return state and noise-free mean at ``run.times[i + 1]`` from the state at ``run.times[i]``; all (B, *d)."""

    def finish(
        self, run: SolverRun, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"]
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """Return the samples, and their mean, from state and mean at the last time."""
        if not self.denoise:
            return x, x_mean
        x = run.denoise(x, run.times[-1])
        return x, x

    def __call__(
        self,
        model: Model,
        x_init: Float[Tensor, "b *d"],
        noise: NoiseSource,
        *,
        cond: Mapping[str, Tensor] | None = None,
        control: Control | None = None,
        callback: Callback | None = None,
    ) -> SampleOutput:
        run = SolverRun(model, TimeTable.of(model.sde, self.grid(model.sde)), noise, cond, control)
        total = len(run.times)
        trajectory = Trajectory(self.trajectory_frames, total)

        def report(i: int, t: Tensor, x: Tensor, x_mean: Tensor) -> None:
            trajectory.record(i, x_mean)
            if callback is not None:
                callback(SamplerStep(i + 1, total, t, x, x_mean))

        last = total - 1
        x = x_mean = x_init
        with torch.no_grad():
            for i in range(last):
                x, x_mean = self._take_step(run, x, i)
                x, x_mean = run.constrain(x, x_mean, run.ends[i], "step", i)
                report(i, run.ends[i], x, x_mean)
            x, x_mean = self.finish(run, x, x_mean)
            if self.denoise:
                x, x_mean = run.constrain(x, x_mean, run.ends[last], "denoise", last)
            report(last, run.ends[last] if self.denoise else run.times[last], x, x_mean)
        return SampleOutput(x, count(x, run.nfe, model), trajectory.stacked())
