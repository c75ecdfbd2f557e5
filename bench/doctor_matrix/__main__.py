"""The command: a row of the matrix for each fault, a column for each family that the doctor can name.

    python -m bench.doctor_matrix [--trials 5] [--sets digits patches color]

Writes ``docs/doctor_matrix.json`` and ``docs/images/doctor_matrix.png``.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.io.atomic import replacing, write_json
from src.tasks.evaluate.doctor.verdict import FAMILIES

from .faults import FAULTS, Trial, faults_of

_log = logging.getLogger(__name__)

RESULTS, PICTURE = Path("docs/doctor_matrix.json"), Path("docs/images/doctor_matrix.png")
SIZES = {"digits": (500, 700), "patches": (1200, 1200), "color": (600, 800)}
"""Samples and reference images of each set."""


@dataclass(frozen=True)
class Rows:
    """Part of the matrix.

    Attributes:
        samples, reference: numbers of images.
        named: for each fault, how often the doctor named what, as ``family: text``.
    """

    samples: int
    reference: int
    named: dict[str, Counter[str]]

    def plain(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        named = {fault: dict(found) for fault, found in self.named.items()}
        return {"samples": self.samples, "reference": self.reference, "named": named}

    def families(self, fault: str) -> Counter[str]:
        """How often the doctor named which family."""
        found: Counter[str] = Counter()
        for text, count in self.named[fault].items():
            found[text.partition(":")[0]] += count
        return found


def draw(path: Path, sets: Mapping[str, Rows], trials: int) -> None:
    """Write a panel for each set: a row for each fault, a column for each family."""
    from matplotlib.figure import Figure

    families = [*FAMILIES, "none"]
    counts = [len(content.named) for content in sets.values()]
    figure = Figure(figsize=(9.5, 1.6 + 0.3 * sum(counts)), layout="constrained")
    panels = figure.subplots(len(sets), 1, height_ratios=counts, squeeze=False)[:, 0]
    for axes, (name, content) in zip(panels, sets.items(), strict=True):
        rows = {fault: content.families(fault) for fault in content.named}
        shares = [[100 * row[family] / trials for family in families] for row in rows.values()]
        axes.imshow(shares, cmap="Greens", vmin=0, vmax=120, aspect="auto")
        for i, (fault, row) in enumerate(zip(rows, shares, strict=True)):
            for j, share in enumerate(row):
                right = families[j] == FAULTS[fault]
                if share or right:
                    axes.text(
                        j, i, f"{share:.0f}", ha="center", va="center", color="black" if right else "C3", fontsize=8
                    )
        axes.set_xticks(range(len(families)), families, rotation=40, ha="right")
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        title = f"{name}: {content.samples} images, percent of {trials} trials"
        axes.set(ylabel="planted", title=title)
    panels[-1].set_xlabel("what the doctor names")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> None:
    """Run the trials of all sets, seed by seed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m bench.doctor_matrix", description=__doc__)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(SIZES), default=list(SIZES))
    asked = parser.parse_args()
    start = time.monotonic()
    sets = {name: Rows(*SIZES[name], {fault: Counter() for fault in faults_of(name)}) for name in asked.sets}
    for seed in range(asked.trials):
        for name, rows in sets.items():
            trial = Trial.of(name, seed, rows.samples, rows.reference)
            for fault, counter in rows.named.items():
                family, text = trial.named(fault)
                counter[f"{family}: {text}"] += 1
                _log.info("%5.0f s  %s %-60s %s: %s", time.monotonic() - start, name, fault, family, text)
        # An interrupted call leaves the trials that are complete.
        command = f"python -m bench.doctor_matrix --trials {seed + 1}"
        content = {"command": command, "trials": seed + 1, "sets": {name: rows.plain() for name, rows in sets.items()}}
        write_json(RESULTS, content)
        draw(PICTURE, sets, seed + 1)
    _log.info("%.0f s: %s and %s", time.monotonic() - start, RESULTS, PICTURE)


if __name__ == "__main__":
    main()
