"""Objectives and samplers that fail on purpose, for test configurations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from src.sampling.solvers.pc import PredictorCorrector
from src.sde.objectives.score_matching import ScoreMatching


class BrokenObjective(ScoreMatching):
    """A loss that is NaN, or a gradient that is infinite, in some steps.

    Args:
        broken_steps: optimizer steps to break, counted from 0.
        gradient: the loss stays finite and the gradient is infinite.
        settings: settings of ScoreMatching.
    """

    def __init__(self, broken_steps: Sequence[int], gradient: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.broken_steps = tuple(broken_steps)
        self.gradient = gradient

    def __call__(self, model: Any, x0: Tensor, address: Any, cond: Any = None, train: bool = True) -> Tensor:
        losses = super().__call__(model, x0, address, cond, train)
        if not train or address.step not in self.broken_steps:
            return losses
        # The square root has an infinite derivative at zero.
        return (losses * 0).sqrt() if self.gradient else losses * math.nan


class DivergingSampler(PredictorCorrector):
    """Every second sample diverges."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        output.samples[::2] = 1e12
        return output
