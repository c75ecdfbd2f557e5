"""Write the rows of a run into ``docs/performance.md``: ``python -m bench.gpu_proof.publish gpu_proof/rows.jsonl``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import report
from bench.gpu_proof.setup import rows_of


def main() -> None:
    """Update the sections that the file contains."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_proof.publish", description=__doc__)
    parser.add_argument("record", type=Path, help="rows.jsonl of a run")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, default=report.PAGE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = [row for _, row in rows_of(arguments.record)]
    machine = arguments.record.with_name("machine.json")
    if not rows or not machine.exists():
        sys.exit(f"error: {arguments.record} has no rows or {machine} is missing: run python -m bench.gpu_proof first")
    facts = json.loads(machine.read_text(encoding="utf-8"))
    report.save(arguments.results, "python -m bench.gpu_proof", facts, rows)
    report.insert(arguments.page, arguments.results)


if __name__ == "__main__":
    main()
