"""A score with all conditions it depends on; a bare number cannot be compared with anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from .protocol import text_of

ScoreCondition = str | int | None


@dataclass(frozen=True)
class Scores:
    """Results of metrics over one set of images.

    Args:
        values: one number per metric, for a logger.
        conditions: what the numbers depend on: counts, reference, extractor, resize, quantization.
        intervals: lower and upper end of the 95 % interval, by the name of the value.
        details: results that are lists, such as the share of every class.
        notes: what a reader should know before comparing.
    """

    values: dict[str, float]
    conditions: dict[str, ScoreCondition]
    details: dict[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Plain containers, for JSON."""
        return {
            **self.values,
            **self.details,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "conditions": dict(self.conditions),
            "notes": list(self.notes),
        }

    def flat(self) -> dict[str, float]:
        """Plain numbers for a logger: the values, and the ends of the intervals as ``..._low`` and ``..._high``."""
        ends = {
            f"{name}_{end}": value
            for name, interval in self.intervals.items()
            for end, value in zip(("low", "high"), interval, strict=True)
        }
        return {**self.values, **ends}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {self.shown(name)}" for name in self.values)
        return f"{values}; protocol: {text_of(next(iter(self.values), 'samples'), self.conditions)}"

    def shown(self, name: str) -> str:
        """A value with its interval, such as ``2.38 (2.33 to 2.43)``."""
        if name not in self.intervals:
            return f"{self.values[name]:.4g}"
        low, high = self.intervals[name]
        return f"{self.values[name]:.4g} ({low:.4g} to {high:.4g})"
