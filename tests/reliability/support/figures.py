"""Counts reported at the end of a test run, such as survived kills and tried inputs.

``FIGURES=docs/results/reliability.json python -m pytest ...`` also writes them to a file, for the documents. With
``SUITE=NAME``, it writes only how many tests passed, failed and were skipped: the whole suite tries fewer inputs than
the commands of the documents.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from src.io.atomic import write_json

Figures = Callable[[str, Mapping[str, int]], None]
_FIGURE = "figure"
# Removed, so that pytest in a test does not write the same file.
_FILE, _SUITE = os.environ.pop("FIGURES", ""), os.environ.pop("SUITE", "")


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """``figures(what, {kind: count})``: summed over all tests and printed at the end."""

    def report(what: str, counts: Mapping[str, int]) -> None:
        # Test properties are also sent by worker processes.
        record_property(_FIGURE, [what, dict(counts)])

    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the sums, and update the file that the environment variable FIGURES named."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name == _FIGURE:
                        sums[value[0]].update(value[1])
    if sums:
        terminalreporter.section("figures")
    for what, counts in sorted(sums.items()):
        kinds = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
        terminalreporter.write_line(f"{what}: {counts.total()} ({kinds})")
    if _SUITE:
        outcomes = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "skipped")}
        sums = defaultdict(Counter, {_SUITE: Counter(outcomes)})
    if sums and _FILE:
        update(Path(_FILE), {what: {"total": counts.total(), **counts} for what, counts in sums.items()})


def update(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace results of the same names in a JSON file; create the file if it is missing."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, results | dict(found))
