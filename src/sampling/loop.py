"""What samplers on a time grid share: the walk from T to eps, the constraint, the callback, the final denoising.

    for each time t of the grid, s the next:  x <- step(x, t -> s), constrained
    x <- E[x_0 | x_eps = x]                   (the noise that is left is removed)

A sampler of this kind gives ``step`` and, where it ends in its own way, ``finish``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from src.noise import NoiseSource
from src.sampling.output import Callback, Control, SampleOutput, Sampler, Step, count
from src.sampling.predictors import Draw
from src.sampling.schedule import TimeGrid
from src.sampling.trajectory import Trajectory
from src.sde import SDE, tweedie
from src.sde.score_model import Model


class Run:
    """One run of a sampler: its model, its times, the coefficients at them, and what multistep methods remember.

    Args:
        model: score and SDE.
        times: (N,), float64 on the CPU, decreasing.
        noise: where random numbers come from.
        cond: named tensors for the net.
        control: a constraint on the samples.

    Attributes:
        ends: (N,), the end of the step that begins at each time; 0 for the last.
        alpha, sigma, log_snr: (N,) each, at the times.
        data: data predictions (B, *d) by the index of their time, as far as a sampler keeps them.
        states: states (B, *d), likewise.
        nfe: evaluations of the score so far.
    """

    def __init__(
        self,
        model: Model,
        times: Float64[Tensor, " n"],
        noise: NoiseSource,
        cond: Mapping[str, Tensor] | None = None,
        control: Control | None = None,
    ) -> None:
        self.sde = model.sde
        self.times = times
        self.ends = torch.cat([times[1:], times.new_zeros(1)])
        self.alpha = self.sde.alpha(times)
        self.sigma = self.sde.sigma(times)
        self.log_snr = self.sde.log_snr(times)
        self.data: dict[int, Tensor] = {}
        self.states: dict[int, Tensor] = {}
        self.nfe = 0
        self._model = model
        self._noise = noise
        self._cond = cond
        self._control = control

    def score(self, x: Float[Tensor, "b *d"], t: Float[Tensor, ""]) -> Float[Tensor, "b *d"]:
        """The score at x (B, *d) and t (), counted."""
        self.nfe += 1
        return self._model(x, t, self._cond)

    def denoise(self, x: Float[Tensor, "b *d"], t: Float[Tensor, ""]) -> Float[Tensor, "b *d"]:
        """The data prediction E[x_0 | x_t = x], (B, *d)."""
        return tweedie(self.sde, x, t, self.score(x, t))

    def predict_data(self, x: Float[Tensor, "b *d"], i: int, keep: int) -> Float[Tensor, "b *d"]:
        """The data prediction at the i-th time, remembered together with the ``keep - 1`` before it."""
        self.data[i] = prediction = self.denoise(x, self.times[i])
        self.data.pop(i - keep, None)
        return prediction

    def draw(self, purpose: str, step: int, x: Float[Tensor, "b *d"]) -> Draw:
        """A function that draws standard normal noise in the shape of x."""
        return partial(self._noise, purpose, step, x)

    def constrain(
        self, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"], t: Float[Tensor, ""], purpose: str, step: int
    ) -> tuple[Tensor, Tensor]:
        """State and mean under the control, at time t."""
        if self._control is None:
            return x, x_mean
        return self._control(x, x_mean, t, self.draw(f"control/{purpose}", step, x))


class GridSampler(Sampler):
    """A sampler that walks a time grid.

    Args:
        grid: times from T to eps.
        denoise: finish with the posterior mean at eps (one evaluation); a visible noise of sigma(eps) stays otherwise.
        trajectory_frames: how many states to keep, evenly spaced in steps; 0 for none.
    """

    def __init__(self, grid: TimeGrid, denoise: bool = True, trajectory_frames: int = 0) -> None:
        self.grid = grid
        self.denoise = denoise
        self.trajectory_frames = trajectory_frames

    def check(self, sde: SDE) -> None:
        self.grid(sde)

    @abstractmethod
    def step(self, run: Run, x: Float[Tensor, "b *d"], i: int) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """State and noise-free mean at ``run.times[i + 1]`` from the state at ``run.times[i]``; all (B, *d)."""

    def finish(
        self, run: Run, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"]
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """The samples from state and mean at the last time."""
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
        run = Run(model, self.grid(model.sde), noise, cond, control)
        total = len(run.times)
        trajectory = Trajectory(self.trajectory_frames, total)

        def report(i: int, t: Tensor, x: Tensor, x_mean: Tensor) -> None:
            trajectory.record(i, x_mean)
            if callback is not None:
                callback(Step(i + 1, total, t, x, x_mean))

        last = total - 1
        x = x_mean = x_init
        with torch.no_grad():
            for i in range(last):
                x, x_mean = self.step(run, x, i)
                x, x_mean = run.constrain(x, x_mean, run.ends[i], "step", i)
                report(i, run.ends[i], x, x_mean)
            x, x_mean = self.finish(run, x, x_mean)
            if self.denoise:
                x, x_mean = run.constrain(x, x_mean, run.ends[last], "denoise", last)
            report(last, run.ends[last] if self.denoise else run.times[last], x, x_mean)
        return SampleOutput(x, count(x, run.nfe, model), trajectory.stacked())
