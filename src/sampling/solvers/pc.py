"""Predictor-corrector sampling (Song et al. 2021, algorithm 1).

    for each time t of the grid, s the next:
        x <- corrector(x, t), a number of times        (Langevin dynamics at the noise level of t)
        x <- predictor(x, t -> s)                      (one step of the reverse SDE)
    x <- corrector(x, eps);  x <- E[x_0 | x_eps = x]   (removes the remaining noise)

N times and one correction cost 2 N evaluations of the net. In the paper's algorithm the predictor is first, which only
omits the correction at T. Both original codes run the corrector first, as does the default here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from .correctors import Corrector, NoCorrector
from .loop import GridSampler
from .predictors import NoPredictor, Predictor
from .run import SolverRun
from .schedule import TimeGrid


class PredictorCorrector(GridSampler):
    """Predictor and corrector in turn over a time grid.

    Args:
        grid: times from T to eps.
        predictor: step from one time to the next.
        corrector: steps at one time.
        corrector_first: run the corrector before the predictor at each time; if false, T has no correction.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler.
    """

    # Whether there was an earlier step.
    reach = 1

    def __init__(
        self,
        grid: TimeGrid,
        predictor: Predictor,
        corrector: Corrector,
        corrector_first: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(grid, **settings)
        self.predictor = predictor
        self.corrector = corrector
        self.corrector_first = corrector_first

    @property
    def convergence_order(self) -> int | None:
        return self.predictor.convergence_order if self.corrector.steps == 0 else None

    @property
    def parts(self) -> Sequence[object]:
        both = (self.predictor, self.corrector)
        return [part for part in both if not isinstance(part, NoPredictor | NoCorrector)]

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        if i > 0 or self.corrector_first:
            x, _ = self._correct(run, x, x, i)
        return self.predictor(run.sde, run.score, x, run.times[i], run.ends[i], run.draw("predictor", i, x))

    def finish(
        self, run: SolverRun, x: Float[Tensor, "b *d"], x_mean: Float[Tensor, "b *d"]
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        last = len(run.times) - 1
        if last > 0 or self.corrector_first:
            x, x_mean = self._correct(run, x, x_mean, last)
        return super().finish(run, x, x_mean)

    def _correct(self, run: SolverRun, x: Tensor, x_mean: Tensor, i: int) -> tuple[Tensor, Tensor]:
        steps = self.corrector.steps
        for part in range(steps):
            draw = run.draw("corrector", i, x, part, steps)
            x, x_mean = self.corrector(run.sde, run.score, x, run.times[i], run.ends[i], draw)
            x, x_mean = run.constrain(x, x_mean, run.times[i], "corrector", i, part, steps)
        return x, x_mean
