"""The times of a run and their coefficients, computed once for all samples and steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ...sde import SDE


class TimeTable(NamedTuple):
    """Times and coefficients, each (N,) float64.

    Attributes:
        times: decreasing.
        ends: end of the step that starts at each time; 0 for the last.
        alpha, sigma, log_snr: at the times.
    """

    times: Tensor
    ends: Tensor
    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor

    @classmethod
    def of(cls, sde: SDE, times: Float64[Tensor, " n"]) -> TimeTable:
        """Return the table of an SDE at ``times`` (N,)."""
        ends = torch.cat([times[1:], times.new_zeros(1)])
        return cls(times, ends, sde.alpha(times), sde.sigma(times), sde.log_snr(times))

    def part(self, begin: int, end: int) -> TimeTable:
        """Return a view of the times ``begin`` to ``end - 1``."""
        return TimeTable(*(column[begin:end] for column in self))

    def to(self, device: torch.device) -> TimeTable:
        """Return the table on ``device``."""
        return TimeTable(*(column.to(device) for column in self))
