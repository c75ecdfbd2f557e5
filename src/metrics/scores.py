"""A score with all it depends on: a bare number cannot be compared with anything."""

from __future__ import annotations

from dataclasses import dataclass, field

ScoreCondition = str | int | None


@dataclass(frozen=True)
class Scores:
    """Results of metrics over one set of images.

    Args:
        values: one number per metric, for a logger.
        conditions: what the numbers depend on: counts, reference, extractor, resize, quantisation.
        details: results that are lists, as the share of every class.
        notes: what a reader should know before comparing.
    """

    values: dict[str, float]
    conditions: dict[str, ScoreCondition]
    details: dict[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Plain containers, for JSON."""
        return {**self.values, **self.details, "conditions": dict(self.conditions), "notes": list(self.notes)}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.values.items())
        conditions = ", ".join(f"{name} {'unknown' if v is None else v}" for name, v in self.conditions.items())
        return f"{values} ({'; '.join([conditions, *self.notes])})"
