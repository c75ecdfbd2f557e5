"""``python -m bench.scores docs/results/FILE.json [NAME=]FOLDER ...``: collect the scores that a page quotes.

Each folder is an output of ``sample.py score=true`` or ``evaluate.py``. Rows of other names stay in the file.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from src.io.atomic import write_json
from src.io.results import recorded_results


def rows(folder: Path, name: str = "") -> dict[str, dict[str, Any]]:
    """Return evaluations and scores of the results in a folder, by name; results of one name are joined.

    Args:
        folder: output folder of a command.
        name: name of its only row; by default the label of each result, without the step of the checkpoint.
    """
    found: dict[str, dict[str, Any]] = {}
    for _, result in recorded_results(folder):
        conditions = result.get("conditions", {})
        new = {"evaluations": conditions.get("nfe"), "samples": conditions.get("samples")}
        row = found.setdefault(name or re.sub(r" step \d+", "", result["label"]), new | {"values": {}, "intervals": {}})
        row["values"] |= result["values"]
        row["intervals"] |= result.get("intervals", {})
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scores", description=__doc__)
    parser.add_argument("file", type=Path, help="results file, updated")
    parser.add_argument(
        "folders", nargs="+", metavar="[NAME=]FOLDER", help="output folder of a command, and the name of its row"
    )
    arguments = parser.parse_args()
    results = json.loads(arguments.file.read_text(encoding="utf-8")) if arguments.file.exists() else {}
    for given in arguments.folders:
        name, _, folder = given.rpartition("=")
        results |= rows(Path(folder), name)
    write_json(arguments.file, results)


if __name__ == "__main__":
    main()
