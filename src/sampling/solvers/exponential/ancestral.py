"""Base class of samplers that replace a share of the noise in every step."""

from __future__ import annotations

from typing import Any

from ....errors import UserError
from ..loop import GridSampler
from ..schedule import TimeGrid


class AncestralSampler(GridSampler):
    """A sampler with a share of fresh noise.

    Args:
        grid: times from T to eps.
        eta: share of the noise, in [0, 1]; 0 is deterministic.
        settings: those of GridSampler.

    Raises:
        UserError: eta is not in [0, 1].
    """

    def __init__(self, grid: TimeGrid, eta: float, **settings: Any) -> None:
        super().__init__(grid, **settings)
        if not 0 <= eta <= 1:
            raise UserError(f"sampler.eta is {eta}: give a number in [0, 1] (0 is deterministic)")
        self.eta = eta
