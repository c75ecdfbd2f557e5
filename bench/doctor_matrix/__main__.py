"""The command: a row of the matrix for each fault, a column for each family that the doctor can name.

    python -m bench.doctor_matrix [--seeds 0 1 2] [--sets digits patches color]

Run it again to go on after an interruption, or to add seeds. Writes ``docs/results/doctor_matrix.json`` and
``docs/images/doctor_matrix.png``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.io.atomic import replacing, write_json
from src.tasks.evaluate.doctor.evidence.base import Evidence
from src.tasks.evaluate.doctor.examination import Examination
from src.tasks.evaluate.doctor.verdict import FAMILIES, suspect

from .faults import FAULTS, Trial, faults_of
from .net import NAME, NetTrial

_log = logging.getLogger(__name__)

RESULTS, PICTURE = Path("docs/results/doctor_matrix.json"), Path("docs/images/doctor_matrix.png")
SIZES = {"digits": (500, 700), "patches": (1200, 1200), "color": (600, 800), NAME: (256, 1797)}
"""Samples and reference images of each set."""


@dataclass(frozen=True)
class Rows:
    """The part of the matrix of one set of images.

    Attributes:
        seeds: of the trials that are complete.
        named: for each fault, how often the doctor named what, as ``family: text``.
    """

    seeds: list[int]
    named: dict[str, Counter[str]]

    @classmethod
    def of(cls, name: str, stored: Mapping[str, Any]) -> Rows:
        """The trials that a file holds already."""
        known = stored.get("named", {})
        return cls(list(stored.get("seeds", [])), {fault: Counter(known.get(fault, {})) for fault in faults_of(name)})

    def families(self, fault: str) -> Counter[str]:
        """How often the doctor named which family."""
        found: Counter[str] = Counter()
        for text, count in self.named[fault].items():
            found[text.partition(":")[0]] += count
        return found

    def plain(self, name: str) -> dict[str, Any]:
        """Plain containers for JSON, with the percentage of trials in which the right family was named."""
        samples, reference = SIZES[name]
        right = {
            fault: 100 * sum(self.families(fault)[family] for family in FAULTS[fault]) / max(len(self.seeds), 1)
            for fault in self.named
        }
        counts = {"samples": samples, "reference": reference, "trials": len(self.seeds), "seeds": self.seeds}
        return {**counts, "right": right, "named": {fault: dict(found) for fault, found in self.named.items()}}


def draw(path: Path, sets: Mapping[str, Rows]) -> None:
    """Write a panel for each set: a row for each fault, a column for each family."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    families = [*FAMILIES, "none"]
    counts = [len(content.named) for content in sets.values()]
    figure = Figure(figsize=(9.5, 1.6 + 0.24 * sum(counts)), layout="constrained")
    panels = figure.subplots(len(sets), 1, height_ratios=counts, squeeze=False)[:, 0]
    for axes, (name, content) in zip(panels, sets.items(), strict=True):
        rows = {fault: content.families(fault) for fault in content.named}
        trials = max(len(content.seeds), 1)
        shares = [[100 * row[family] / trials for family in families] for row in rows.values()]
        # Right verdicts are green, wrong ones orange.
        right = [[family in FAULTS[fault] for family in families] for fault in rows]
        colors = [
            [colormaps["Greens" if is_right else "Oranges"](share / 200) for is_right, share in zip(*row, strict=True)]
            for row in zip(right, shares, strict=True)
        ]
        axes.imshow(colors, aspect="auto")
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                if share or right[i][j]:
                    axes.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(families)), families, rotation=40, ha="right")
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        title = f"{name}: {SIZES[name][0]} images, percent of {trials} trials"
        axes.set(ylabel="planted", title=title)
    panels[-1].set_xlabel("what the doctor names")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _named(found: Examination) -> str:
    """What the doctor names, as ``family: text``; numbers in a trace differ between trials."""
    best = suspect(found)
    if best is None:
        return "none: none"
    return f"{best.family}: {'a trace' if isinstance(best, Evidence) else best.text}"


def main() -> None:
    """Run the trials that the file does not hold yet; each is written once it is complete."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m bench.doctor_matrix", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(3)))
    parser.add_argument("--sets", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    start = time.monotonic()
    stored = json.loads(asked.results.read_text())["sets"] if asked.results.exists() else {}
    sets = {name: Rows.of(name, stored.get(name, {})) for name in SIZES if name in {*stored, *asked.sets}}
    for seed in asked.seeds:
        for name in asked.sets:
            if seed in sets[name].seeds:
                continue
            trial = NetTrial(seed, SIZES[name][0]) if name == NAME else Trial.of(name, seed, *SIZES[name])
            said = {fault: _named(trial.examined(fault)) for fault in sets[name].named}
            for fault, text in said.items():
                sets[name].named[fault][text] += 1
            sets[name].seeds.append(seed)
            _log.info("%5.0f s  %s, seed %d", time.monotonic() - start, name, seed)
            plain = {name: rows.plain(name) for name, rows in sets.items()}
            write_json(asked.results, {"command": "python -m bench.doctor_matrix", "sets": plain})
    draw(PICTURE, sets)
    _log.info("%.0f s: %s and %s", time.monotonic() - start, asked.results, PICTURE)


if __name__ == "__main__":
    main()
