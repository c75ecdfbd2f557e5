"""Convert measured rows to tables, and write them into ``docs/performance.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.rows import Row
from src.io.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
MEASURED, MISSED = "measured", "missed"
"""Names of the generated parts of the page, each between ``<!-- name -->`` and ``<!-- /name -->``."""


def save(path: Path, command: str, machine: dict[str, str], rows: Iterable[Row]) -> None:
    """Add rows to the results; a section measured again replaces the old one."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for section in dict.fromkeys(r.section for r in rows):
        results[section] = {
            "command": command,
            "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine,
            "rows": [r.as_dict() for r in rows if r.section == section],
        }
    write_text(path, json.dumps(results, indent=1) + "\n")


def markdown(results: dict[str, Any]) -> str:
    """Return all results as tables, one per section."""
    parts = []
    for section, content in results.items():
        parts.append(f"### {section}\n")
        parts.append(f"`{content['command']}`, {content['measured']}\n")
        parts.append("| | median | quartiles | runs | target | |\n|---|---:|---:|---:|---:|---|")
        parts += [_line(Row(**r)) for r in content["rows"]]
        parts.append("")
    machines = {json.dumps(content["machine"]) for content in results.values()}
    described = "\n".join("- " + ", ".join(f"{k}: {v}" for k, v in json.loads(m).items()) for m in sorted(machines))
    return f"Measured on:\n\n{described}\n\n" + "\n".join(parts)


def missed(results: dict[str, Any]) -> str:
    """The rows that miss their target, as one table."""
    rows = [Row(**r) for content in results.values() for r in content["rows"]]
    lines = [f"| {r.section} | {r.what} | {number(r.value)} {r.unit} | {_goal(r)} |" for r in rows if r.met is False]
    return "\n".join(["| | | measured | target |", "|---|---|---:|---:|", *lines])


def insert(page: Path, results: Path) -> None:
    """Update the generated parts of ``page``.

    Raises:
        ValueError: the marks of a part are missing.
    """
    text = page.read_text(encoding="utf-8")
    content = json.loads(results.read_text(encoding="utf-8"))
    for name, table in ((MISSED, missed(content)), (MEASURED, markdown(content))):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, mark, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not mark or not closed:
            raise ValueError(f"{page} has no {begin} ... {end}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    write_text(page, text)


def text(rows: Iterable[Row]) -> str:
    """Return rows as lines for a terminal."""
    lines = []
    section = None
    for r in rows:
        if r.section != section:
            section = r.section
            lines.append(f"\n{section}")
        goal = "" if r.target is None else f"  {_target(r)}: {'met' if r.met else 'MISSED'}"
        spread = "" if r.runs == 1 else f"  [{number(r.low)} .. {number(r.high)}] of {r.runs}"
        lines.append(f"  {r.what:<58} {number(r.value):>9} {r.unit:<9}{spread}{goal}")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three or more significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _target(r: Row) -> str:
    return "" if r.target is None else f"{'<=' if r.at_most else '>='} {number(r.target)}"


def _goal(r: Row) -> str:
    return _target(r).replace("<=", "at most").replace(">=", "at least")


def _line(r: Row) -> str:
    spread = "" if r.runs == 1 else f"{number(r.low)} to {number(r.high)}"
    met = {None: "", True: "met", False: "**missed**"}[r.met]
    return f"| {r.what} | {number(r.value)} {r.unit} | {spread} | {r.runs} | {_goal(r)} | {met} |"
