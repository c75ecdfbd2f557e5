"""Restart sampling (Xu et al. 2023): the ODE, with jumps back to a larger noise level that reduce earlier errors.

    ODE from T down to low;  K times:  add the noise between low and high, ODE from high down to low;  ODE to the end.

Each jump is the forward process, so exact marginals stay exact; an error made before it shrinks as the ODE contracts.
The ODE's solver is Heun's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ...errors import UserError
from ...sde import SDE
from .heun import Heun
from .run import SolverRun
from .schedule import KarrasGrid


class RestartGrid(KarrasGrid):
    """Karras' grid with restarts: its times turn back from ``low`` to ``high``, and N Karras times lead down again.

    Args:
        steps: times of the grid without restarts.
        eps: the last time.
        rho: exponent of the spacing.
        low: noise level sigma / alpha at which restarts begin; the grid's nearest time is taken.
        high: noise level to which restarts lead.
        repeats: K.
        restart_steps: N, at least 2, the number of times of each restart.

    Raises:
        UserError: levels that are not 0 < low < high, or no restart.
    """

    def __init__(
        self,
        steps: int = 18,
        eps: float = 2e-3,
        rho: float = 7.0,
        low: float = 0.06,
        high: float = 0.3,
        repeats: int = 1,
        restart_steps: int = 3,
    ) -> None:
        super().__init__(steps, eps, rho)
        if not 0 < low < high:
            raise UserError(f"sampler.grid.low={low}, sampler.grid.high={high}: give noise levels 0 < low < high")
        if repeats < 1 or restart_steps < 2:
            raise UserError(
                f"sampler.grid.repeats={repeats}, sampler.grid.restart_steps={restart_steps}: give at least 1 and 2"
            )
        self.low, self.high = low, high
        self.repeats = repeats
        self.restart_steps = restart_steps

    def __call__(self, sde: SDE) -> Float64[Tensor, " n"]:
        main = super().__call__(sde)
        place = int((sde.log_snr(main) - sde.log_snr(self._time(sde, self.low))).abs().argmin())
        top = self._time(sde, self.high)
        if not main[place] < top < sde.T:
            raise UserError(
                f"sampler.grid.high={self.high} must lie between the grid's time at sampler.grid.low={self.low} and "
                f"the largest noise level: give more steps or another level"
            )
        begin, end = ((sde.sigma(time) / sde.alpha(time)) ** (1 / self.rho) for time in (top, main[place]))
        levels = torch.lerp(begin, end, torch.linspace(0, 1, self.restart_steps, dtype=torch.float64)) ** self.rho
        back = sde.time_of_log_snr(-levels.log())
        back[0], back[-1] = top, main[place]
        return torch.cat([main[: place + 1], back.repeat(self.repeats), main[place + 1 :]])

    def _time(self, sde: SDE, level: float) -> Tensor:
        return sde.time_of_log_snr(-torch.tensor(level, dtype=torch.float64).log())


class Restart(Heun):
    """Heun's sampler on a grid whose times may turn back.

    Args:
        grid: times from T to eps; where one is larger than the one before, noise is added.
        denoise: finish with the posterior mean at eps.
        trajectory_frames: number of states to keep.
    """

    def __init__(self, grid: RestartGrid, denoise: bool = True, trajectory_frames: int = 0) -> None:
        super().__init__(grid, denoise=denoise, trajectory_frames=trajectory_frames)

    def step(
        self, run: SolverRun, x: Float[Tensor, "b *d"], i: int
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        low, high = run.times[i], run.times[i + 1]
        if high <= low:
            return super().step(run, x, i)
        scale, variance = run.sde.transition(high, low)
        return scale * x + variance.sqrt() * run.draw("restart", i, x)(), scale * x
