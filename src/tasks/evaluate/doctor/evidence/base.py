"""Evidence, and the images that it is measured in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CERTAIN = 6.0
"""Standard errors above which a trace counts. Many traces are measured, and none may be found in clean images."""


@dataclass(frozen=True)
class Images:
    """Images that can be read as often as needed.

    Attributes:
        count: N.
        batches: yields images (B, C, H, W) uint8 and their indices (B,), in the same order every time.
        labels: (N,) classes; None if they are not known.
    """

    count: int
    batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    labels: Tensor | None = None

    def each(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``measure`` of all images, (N, ...), from ``measure`` of one batch, (B, ...)."""
        return torch.cat([measure(batch).cpu() for batch, _ in self.batches()])


@dataclass(frozen=True)
class Evidence:
    """A trace of a fault.

    Attributes:
        family: kind of fault, as of a suspicion.
        text: what was measured, with numbers.
        errors: size of the effect in standard errors.
        certain: only this fault leaves such a trace. Otherwise a net may make it too, and it counts only where no
            suspicion explains the score.
    """

    family: str
    text: str
    errors: float
    certain: bool = True
