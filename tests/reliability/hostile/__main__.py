"""Try every kind of hostile file at every entrance and print a table of the outcomes.

python -m tests.reliability.hostile > attacks.md          all cases
python -m tests.reliability.hostile "a mask" "zip"         cases whose name contains one of these words
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.reliability.hostile.watch import CASES, Outcome, run


def main(words: list[str]) -> int:
    """Print a line per entrance, and wrong outcomes on standard error; return 1 if there are any."""
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wrong: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for outcome in run(cases, Path(folder)):
            outcomes[outcome.case.partition(":")[0]][outcome.ended if outcome.good else "wrong"] += 1
            sys.stderr.write(
                f"{outcome.ended} | {outcome.case} | {outcome.seconds} s {outcome.megabytes} MB | {outcome.line}\n"
            )
            if not outcome.good:
                wrong.append(outcome)
    sys.stdout.write("| entrance | kinds | one line | work done | wrong |\n|---|---|---|---|---|\n")
    for entrance, counts in outcomes.items():
        cells = (counts.total(), counts["one line"], counts["work done"], counts["wrong"])
        sys.stdout.write(f"| {entrance} | {' | '.join(map(str, cells))} |\n")
    kinds = {case.kind.name for case in cases}
    sys.stdout.write(f"\n{len(kinds)} kinds, {len(cases)} attacks, {len(wrong)} went wrong\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
