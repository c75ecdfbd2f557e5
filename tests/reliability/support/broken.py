"""Parts of a run that go wrong on purpose, for configurations of the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from src.sampling.solvers.pc import PredictorCorrector
from src.sde.objectives.score_matching import ScoreMatching


class BrokenObjective(ScoreMatching):
    """A loss that is not a number, or a gradient that is infinite, in some steps.

    Args:
        broken_steps: numbers of finished optimizer steps before which it happens.
        gradient: the loss stays finite, its gradient does not.
        settings: those of ScoreMatching.
    """

    def __init__(self, broken_steps: Sequence[int], gradient: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.broken_steps = tuple(broken_steps)
        self.gradient = gradient

    def __call__(self, model: Any, x0: Tensor, address: Any, cond: Any = None, train: bool = True) -> Tensor:
        losses = super().__call__(model, x0, address, cond, train)
        if not train or address.step not in self.broken_steps:
            return losses
        # The derivative of the square root at zero.
        return (losses * 0).sqrt() if self.gradient else losses * math.nan


class DivergingSampler(PredictorCorrector):
    """Every second sample ends far out."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        output.samples[::2] = 1e12
        return output
