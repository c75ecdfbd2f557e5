"""All rows as one table of limited length."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import report
from bench.gpu_proof.setup import device_name, rows_of
from bench.rows import Row

LONGEST = 11_500
"""Characters, below the 12,000 that some remote shells return."""


def text(record: Path, outcome: Mapping[str, str], seconds: float) -> str:
    """Return rows by section, then the outcomes of stages and targets."""
    found = rows_of(record)
    lines = []
    # Several stages may add rows to a section; the table shows each section once.
    for section in dict.fromkeys(row.section for _, row in found):
        lines.append(f"\n{section}")
        lines += _lines([(stage, row) for stage, row in found if row.section == section])
    aimed = [row for _, row in found if row.met is not None]
    stages = "; ".join(f"{name} {what}" for name, what in outcome.items())
    end = (
        f"\nstages: {stages}\n{sum(row.met is True for row in aimed)} of {len(aimed)} targets met, "
        f"{device_name()}, {seconds:.0f} s"
    )
    body = "\n".join(lines)
    if len(body) + len(end) > LONGEST:
        kept = body[: LONGEST - len(end) - 60]
        body = kept[: kept.rfind("\n")] + f"\n  ... the rest is in {record.name}"
    return body + "\n" + end


def _lines(rows: Sequence[tuple[str, Row]]) -> list[str]:
    """Return a line per measurement, followed by further values of the same measurement."""
    heads: list[tuple[str, str]] = []
    shown: dict[tuple[str, str], str] = {}
    for stage, row in rows:
        head = next((head for head in heads if head[0] == stage and row.what.startswith(f"{head[1]}, ")), None)
        if head is None:
            heads.append((stage, row.what))
            shown[stage, row.what] = f"{row.what:<46} {_value(row)}"
        else:
            shown[head] += f"; {row.what.removeprefix(head[1] + ', ')} {_value(row)}"
    return [
        line
        for text in shown.values()
        for line in textwrap.wrap(text, 150, initial_indent="  ", subsequent_indent=" " * 6)
    ]


def _value(row: Row) -> str:
    met = {None: "", True: " (met)", False: f" (MISSED {report.number(row.target or 0)})"}[row.met]
    return f"{report.number(row.value)} {row.unit}{met}".strip()
