"""A few states of a sampling run, kept on the way."""

from __future__ import annotations

import torch
from torch import Tensor


class Trajectory:
    """Keeps ``frames`` of ``steps`` states, evenly spaced, the last one included.

    Args:
        frames: how many to keep; 0 keeps none.
        steps: how many there will be.
    """

    def __init__(self, frames: int, steps: int) -> None:
        self._wanted = {round((k + 1) * steps / frames) - 1 for k in range(frames)} if frames else set()
        self._states: list[Tensor] = []

    def record(self, step: int, x: Tensor) -> None:
        """Keep x (B, *d) if the step, from 0, is one of those wanted."""
        if step in self._wanted:
            self._states.append(x.detach().cpu())

    def stacked(self) -> Tensor | None:
        """(F, B, *d) on the CPU, or None."""
        return torch.stack(self._states) if self._states else None
