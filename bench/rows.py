"""A measured value with its spread and target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bench.timing import Timing


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        section: section of the benchmark.
        what: the measured quantity.
        value: median, in ``unit``.
        unit: unit of value, low and high.
        low: first quartile; ``value`` for a single run.
        high: third quartile.
        runs: number of runs.
        target: target value; None without a target.
        at_most: whether the target is an upper bound.
    """

    section: str
    what: str
    value: float
    unit: str
    low: float
    high: float
    runs: int = 1
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def row(
    section: str,
    what: str,
    timing: Timing | float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """Make a row from repeated runs or from one number."""
    timing = timing if isinstance(timing, Timing) else Timing((timing,))
    target = at_least if at_most is None else at_most
    return Row(
        section, what, timing.median, unit, timing.low, timing.high, len(timing.seconds), target, at_most is not None
    )
