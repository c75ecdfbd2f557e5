"""Noise that other code has drawn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from src.noise import Word


class RecordedNoise:
    """Recorded noise that is consumed in order, to repeat a run of other code.

    Args:
        draws: tensors, each in the shape of the state, in the order in which the sampler asks.
    """

    def __init__(self, draws: Sequence[Tensor] | Tensor) -> None:
        self._draws = iter(draws)

    def __call__(self, purpose: str, step: Word, like: Tensor) -> Tensor:
        """Return the next tensor in the dtype and on the device of ``like``; raise ValueError if none is left."""
        draw = next(self._draws, None)
        if draw is None:
            raise ValueError(f"the recorded noise is used up at {purpose}, step {step}")
        moved: Tensor = draw.to(like)
        return moved
