"""A few intermediate states of a sampling run."""

from __future__ import annotations

import torch
from torch import Tensor


class Trajectory:
    """Keep ``frames`` of ``steps`` states, evenly spaced, the last one included.

    Args:
        frames: number of states to keep; 0 keeps none.
        steps: number of states of the run.
    """

    def __init__(self, frames: int, steps: int) -> None:
        self._wanted = {round((k + 1) * steps / frames) - 1 for k in range(frames)} if frames else set()
        self._states: list[Tensor] = []

    def record(self, step: int, x: Tensor) -> None:
        """Keep x (B, *d) if the step, from 0, is selected."""
        if step in self._wanted:
            self._states.append(x.detach().cpu())

    def stacked(self) -> Tensor | None:
        """Return the states (F, B, *d) on the CPU, or None."""
        return torch.stack(self._states) if self._states else None
