"""``python -m bench.quickstart RUN``: write times and scores of a run to ``docs/results/quickstart.json``.

The run is that of ``make quickstart``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from src.io.atomic import write_json
from src.io.results import recorded_results

RESULTS = Path("docs/results/quickstart.json")


def collect(run: Path) -> dict[str, Any]:
    """Return hardware, versions, time of training and sampling, and scores of a run."""
    start = json.loads((run / "run.json").read_text(encoding="utf-8"))["starts"][-1]
    file, scored = next(found for found in recorded_results(run / "samples"))
    manifest = json.loads(file.with_name("manifest.json").read_text(encoding="utf-8"))
    return {
        "command": "make quickstart",
        "hardware": start["hardware"],
        "versions": start["versions"],
        "training": {"steps": start["step"], "minutes": start["seconds"] / 60},
        "sampling": {
            "samples": manifest["num_samples"],
            "evaluations": manifest["nfe"]["mean"],
            "seconds": manifest["seconds"],
        },
        "reference": scored["conditions"]["reference_samples"],
        "values": scored["values"],
        "intervals": scored["intervals"],
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.quickstart", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, logs/digits/TIME")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    write_json(arguments.out, collect(arguments.run))


if __name__ == "__main__":
    main()
