"""The setting ``weights``: which weights of a checkpoint are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Weights:
    """A choice of weights, whether or not a checkpoint has them.

    Attributes:
        averaged: False for the weights of the optimizer.
        name: name of the average; empty for the first one.
    """

    averaged: bool
    name: str = ""

    def average(self, averages: Sequence[str], where: str = "the checkpoint") -> str | None:
        """Pick one of the ``averages`` of a checkpoint, None for raw weights.

        Raises:
            UserError: the checkpoint ``where`` has no such average.
        """
        if not self.averaged:
            return None
        if not averages:
            raise UserError(f"{where} has no averaged weights: choose weights=raw")
        if self.name and self.name not in averages:
            raise UserError(f"{where} has no average {self.name!r}: choose one of {', '.join(averages)}")
        return self.name or averages[0]


def parse_weights(text: str) -> Weights:
    """Parse ``ema`` (the first average), ``ema:<name>`` (another) or ``raw``; raise UserError for anything else."""
    kind, _, name = text.partition(":")
    if text == "raw":
        return Weights(False)
    if kind != "ema":
        raise UserError(f"weights={text} is unknown: choose ema, ema:<name> or raw")
    return Weights(True, name)
