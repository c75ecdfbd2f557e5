"""The times of a run and what depends on them alone, computed once for all samples and steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ...sde import SDE


class TimeTable(NamedTuple):
    """Everything (N,), float64.

    Attributes:
        times: decreasing.
        ends: the end of the step that begins at each time; 0 for the last.
        alpha, sigma, log_snr: at the times.
    """

    times: Tensor
    ends: Tensor
    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor

    @classmethod
    def of(cls, sde: SDE, times: Float64[Tensor, " n"]) -> TimeTable:
        """The table of an SDE at ``times`` (N,)."""
        ends = torch.cat([times[1:], times.new_zeros(1)])
        return cls(times, ends, sde.alpha(times), sde.sigma(times), sde.log_snr(times))

    def part(self, begin: int, end: int) -> TimeTable:
        """The times ``begin`` to ``end - 1``; a view."""
        return TimeTable(*(column[begin:end] for column in self))

    def to(self, device: torch.device) -> TimeTable:
        """The table on ``device``."""
        return TimeTable(*(column.to(device) for column in self))
