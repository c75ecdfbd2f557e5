"""Try every kind of hostile file at every entrance and write a summary of the outcomes.

    python -m tests.reliability.hostile                                all cases
    python -m tests.reliability.hostile "a mask" "zip"                 cases whose name contains one of these words
    python -m tests.reliability.hostile results=FILE output=FILE

results   one line of JSON for each case, appended as the cases end; the cases in this file are not repeated
          (by default a new file in a temporary folder)
output    the summary, as JSON (docs/results/hostile.json is that of all cases); by default it is only printed
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.reliability.hostile.watch import CASES, Outcome, run


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count the outcomes by tag of the kind and by entrance."""
    cases = {case.name: case for case in CASES}
    tags: dict[str, list[Outcome]] = {}
    entrances: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        case = cases[outcome.case]
        tags.setdefault(case.kind.tag, []).append(outcome)
        entrances.setdefault(case.entrance.name, []).append(outcome)
    return {
        "attacks": len(outcomes),
        "kinds": len({cases[outcome.case].kind.name for outcome in outcomes}),
        "entrances": len(entrances),
        "outcomes": _counts(outcomes),
        "most": {
            "seconds": max(outcome.seconds for outcome in outcomes),
            "megabytes": max(outcome.megabytes for outcome in outcomes),
        },
        "of_tag": {
            tag: {"kinds": len({cases[found.case].kind.name for found in some}), **_counts(some)}
            for tag, some in tags.items()
        },
        "of_entrance": {name: _counts(some) for name, some in entrances.items()},
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    count = Counter(outcome.ended if outcome.good else "wrong" for outcome in outcomes)
    return {"attacks": len(outcomes), **{ended: count[ended] for ended in ("one line", "work done", "wrong")}}


def main(arguments: list[str]) -> int:
    """Print the summary, and a line for every case on standard error; return 1 if an outcome is wrong."""
    files = dict(argument.split("=", 1) for argument in arguments if argument.startswith(("results=", "output=")))
    words = [argument for argument in arguments if argument.partition("=")[0] not in files]
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(files.get("results", f"{folder}/all.jsonl"))
        results.touch()
        ended = {found.case: found for found in (Outcome(**json.loads(line)) for line in results.open())}
        with results.open("a", buffering=1) as kept:
            for outcome in run([case for case in cases if case.name not in ended], Path(folder)):
                ended[outcome.case] = outcome
                kept.write(json.dumps(asdict(outcome)) + "\n")
                numbers = f"{outcome.seconds} s {outcome.megabytes} MB"
                sys.stderr.write(f"{outcome.ended} | {outcome.case} | {numbers} | {outcome.line}\n")
    outcomes = [ended[case.name] for case in cases]
    text = json.dumps(summary(outcomes), indent=1) + "\n"
    sys.stdout.write(text)
    if "output" in files:
        Path(files["output"]).write_text(text)
    return any(not outcome.good for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
