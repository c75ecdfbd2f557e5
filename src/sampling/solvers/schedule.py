"""Time grids: N times from T down to eps, on which a sampler takes N - 1 steps.

A grid is a separate object, so that a configuration chooses steps, spacing and end point independently. Times are
float64 scalars on the CPU: coefficients are computed once for the whole batch and passed to kernels as arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float64
from torch import Tensor

from ...errors import UserError
from ...sde import SDE

_MOST = 1_000_000


class TimeGrid(ABC):
    """A spacing of times.

    Args:
        steps: N, the number of times.
        eps: the last time, in (0, T).

    Raises:
        UserError: no steps, or an end point out of range.
    """

    def __init__(self, steps: int = 1000, eps: float = 1e-5) -> None:
        if steps < 1:
            raise UserError(f"sampler.grid.steps is {steps}: a sampler needs at least one step")
        if steps > _MOST:
            raise UserError(f"sampler.grid.steps is {steps}: give at most {_MOST:,}")
        if eps <= 0:
            raise UserError(f"sampler.grid.eps is {eps}: the score is undefined at t <= 0, give a small positive time")
        self.steps = steps
        self.eps = eps

    def __call__(self, sde: SDE) -> Float64[Tensor, " n"]:
        """The times (N,), float64 on the CPU, decreasing from T to eps."""
        if self.eps >= sde.T:
            raise UserError(f"sampler.grid.eps={self.eps} must be smaller than the SDE's end T={sde.T}")
        times = self.times(sde, torch.linspace(0, 1, self.steps, dtype=torch.float64))
        # Set the ends exactly: a spacing may round them.
        times[0] = sde.T
        if self.steps > 1:
            times[-1] = self.eps
        return times

    @abstractmethod
    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        """Return the times at the fractions (N,) between T (0) and eps (1)."""


class LinearGrid(TimeGrid):
    """Uniform in t, as in the paper; for the VE SDE that is geometric in sigma."""

    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        return sde.T + fraction * (self.eps - sde.T)


class LogSNRGrid(TimeGrid):
    """Uniform in lambda = ln(alpha / sigma) (Lu et al. 2022); geometric in sigma if alpha = 1."""

    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        first, last = _ends(sde, self.eps)
        return sde.time_of_log_snr(first + fraction * (last - first))


class KarrasGrid(TimeGrid):
    """Uniform in (sigma / alpha)^(1 / rho) (Karras et al. 2022, eq. 5).

    Args:
        steps: N, the number of times.
        eps: the last time.
        rho: 1 is uniform in sigma; larger values spend more steps at low noise.
    """

    def __init__(self, steps: int = 18, eps: float = 1e-5, rho: float = 7.0) -> None:
        super().__init__(steps, eps)
        if rho <= 0:
            raise UserError(f"sampler.grid.rho is {rho}: it must be positive")
        self.rho = rho

    def times(self, sde: SDE, fraction: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        first, last = (torch.exp(-end / self.rho) for end in _ends(sde, self.eps))
        return sde.time_of_log_snr(-self.rho * (first + fraction * (last - first)).log())


def _ends(sde: SDE, eps: float) -> tuple[Tensor, Tensor]:
    first, last = sde.log_snr(torch.tensor([sde.T, eps], dtype=torch.float64))
    return first, last
