"""Results as a table for screen and log, with all conditions they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .record import Result

_FEW, _MANY = 3, 4


def table(entries: Sequence[Result]) -> list[str]:
    """Lay out results of one task; conditions that differ are cells, the others one line below.

    Many results are a row each. Few results with many values are a column each, so that lines stay short.
    """
    values = list(dict.fromkeys(name for entry in entries for name in entry.values))
    names = list(dict.fromkeys(name for entry in entries for name in entry.conditions))
    varying = [
        name for name in names if any(e.conditions.get(name) != entries[0].conditions.get(name) for e in entries)
    ]
    rows = [
        [
            entry.label,
            *(_value(entry, name) for name in values),
            *(_shown(entry.conditions.get(name, "")) for name in varying),
        ]
        for entry in entries
    ]
    header = ["", *values, *varying]
    if len(rows) <= _FEW and len(values) > _MANY:
        header, *rows = map(list, zip(header, *rows, strict=True))
    lines = aligned(header, [i > 0 and all(_is_number(row[i]) for row in rows) for i in range(len(header))], rows)
    notes = list(dict.fromkeys(note for entry in entries for note in entry.notes))
    protocols = dict.fromkeys(entry.protocol["text"] for entry in entries if entry.protocol)
    below = [*(f"protocol: {text}" for text in protocols), *(f"note: {note}" for note in notes)]
    return [text for text in [*lines, common(entries), *below] if text]


def aligned(header: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows under a header, as lines of a log; columns of numbers are right-aligned."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, right in zip(header, numeric, strict=True):
        grid.add_column(escape(name), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*map(escape, row))
    # Log lines have no limit of width.
    console = Console(width=10_000, color_system=None)
    with console.capture() as capture:
        console.print(grid)
    return [line.rstrip() for line in capture.get().splitlines()]


def common(entries: Sequence[Result]) -> str:
    """The conditions that all entries share, in one line."""
    first = entries[0].conditions
    same = [name for name in first if all(name in e.conditions and e.conditions[name] == first[name] for e in entries)]
    return ", ".join(f"{name} {_shown(first[name])}" for name in same)


def sentence(entry: Result) -> str:
    """An entry in one line."""
    values = ", ".join(f"{name} {_value(entry, name)}" for name in entry.values)
    conditions = ", ".join(f"{name} {_shown(value)}" for name, value in entry.conditions.items())
    return f"{entry.label}: {values} ({conditions})"


def _value(entry: Result, name: str) -> str:
    value, interval = entry.values.get(name), entry.intervals.get(name)
    if value is None:
        return "none"
    return f"{value:.4g}" if interval is None else f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("", "none", "unknown")
    return True
