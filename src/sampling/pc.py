"""Predictor-corrector sampling (Song et al. 2021, algorithm 1).

    for each time t of the grid, s the next:
        x <- corrector(x, t), a number of times        (Langevin dynamics at the noise level of t)
        x <- predictor(x, t -> s)                      (one step of the reverse SDE)
    x <- corrector(x, eps);  x <- E[x_0 | x_eps = x]   (the noise that is left is removed)

With N times and one correction, 2 N evaluations of the net. The paper's box shows the predictor first; both original
codes run the corrector first, and so does the default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from src.errors import UserError
from src.noise import NoiseSource
from src.sampling.correctors import Corrector
from src.sampling.output import Callback, Control, SampleOutput, Sampler, Step, count
from src.sampling.predictors import Predictor
from src.sampling.schedule import TimeGrid
from src.sampling.trajectory import Trajectory
from src.sde import tweedie
from src.sde.score_model import Model

ORDERS = ("corrector_first", "predictor_first")


class PredictorCorrector(Sampler):
    """Predictor and corrector in turn over a time grid.

    Args:
        grid: times from T to eps.
        predictor: step from one time to the next.
        corrector: steps at one time.
        order: ``corrector_first`` or ``predictor_first``; the latter leaves out the correction at T.
        denoise: finish with the posterior mean at eps (one evaluation); a visible noise of sigma(eps) stays otherwise.
        trajectory_frames: how many states to keep, evenly spaced in steps; 0 for none.
    """

    def __init__(
        self,
        grid: TimeGrid,
        predictor: Predictor,
        corrector: Corrector,
        order: str = "corrector_first",
        denoise: bool = True,
        trajectory_frames: int = 0,
    ) -> None:
        if order not in ORDERS:
            raise UserError(f"sampler.order is {order!r}: choose one of {', '.join(ORDERS)}")
        self.grid = grid
        self.predictor = predictor
        self.corrector = corrector
        self.order = order
        self.denoise = denoise
        self.trajectory_frames = trajectory_frames

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
        sde = model.sde
        times = self.grid(sde)
        ends = torch.cat([times[1:], times.new_zeros(1)])
        trajectory = Trajectory(self.trajectory_frames, len(times))

        def score(x: Tensor, t: Tensor) -> Tensor:
            return model(x, t, cond)

        def constrain(x: Tensor, x_mean: Tensor, t: Tensor, purpose: str, step: int) -> tuple[Tensor, Tensor]:
            if control is None:
                return x, x_mean
            return control(x, x_mean, t, partial(noise, f"control/{purpose}", step, x))

        def correct(x: Tensor, x_mean: Tensor, i: int) -> tuple[Tensor, Tensor]:
            for j in range(self.corrector.steps):
                step = i * self.corrector.steps + j
                draw = partial(noise, "corrector", step, x)
                x, x_mean = self.corrector(sde, score, x, times[i], ends[i], draw)
                x, x_mean = constrain(x, x_mean, times[i], "corrector", step)
            return x, x_mean

        def predict(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
            x, x_mean = self.predictor(sde, score, x, times[i], ends[i], partial(noise, "predictor", i, x))
            return constrain(x, x_mean, ends[i], "predictor", i)

        def report(i: int, t: Tensor, x: Tensor, x_mean: Tensor) -> None:
            trajectory.record(i, x_mean)
            if callback is not None:
                callback(Step(i + 1, len(times), t, x, x_mean))

        last = len(times) - 1
        x = x_mean = x_init
        with torch.no_grad():
            for i in range(last):
                if self.order == "corrector_first":
                    x, _ = correct(x, x, i)
                    x, x_mean = predict(x, i)
                else:
                    x, x_mean = predict(x, i)
                    x, x_mean = correct(x, x_mean, i + 1)
                report(i, ends[i], x, x_mean)
            if self.order == "corrector_first":
                x, x_mean = correct(x, x_mean, last)
            if self.denoise:
                x_mean = x = tweedie(sde, x, times[last], score(x, times[last]))
                x, x_mean = constrain(x, x_mean, ends[last], "denoise", last)
            report(last, ends[last], x, x_mean)
        corrected = len(times) if self.order == "corrector_first" else last
        evaluations = last * self.predictor.nfe + corrected * self.corrector.steps + self.denoise
        return SampleOutput(x, count(x, evaluations), trajectory.stacked())
