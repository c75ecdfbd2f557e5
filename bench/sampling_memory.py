"""``python -m bench.sampling_memory``: largest memory of ``sample.py``, by number of samples, processes and format.

The model is ``digits`` of the package, on a CPU. Writes ``docs/results/sampling_memory.json``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from src.io.atomic import write_json

RESULTS = Path("docs/results/sampling_memory.json")
ROWS = {
    "2,000, one process": (2000, 1),
    "20,000, one process": (20000, 1),
    "20,000, two processes": (20000, 2),
}
SETTINGS = ("ckpt_path=digits", "batch_size=500", "sampler.grid.steps=2", "accelerator=cpu")


def largest(count: int, devices: int, stored: str) -> float:
    """Return the largest resident memory of any process of the command, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        asked = (f"num_samples={count}", f"devices={devices}", f"format={stored}", f"output_dir={folder}/out")
        process = subprocess.Popen([sys.executable, "sample.py", *SETTINGS, *asked], stdout=subprocess.DEVNULL)
        # The resources of this process and of those that it waited for.
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"sample.py {' '.join(asked)} failed: run it to see why")
    return used.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Run the commands one after the other."""
    rows = {
        name: {stored: largest(count, devices, stored) for stored in ("png", "npz")}
        for name, (count, devices) in ROWS.items()
    }
    write_json(RESULTS, {"command": "python -m bench.sampling_memory", "unit": "MB", "rows": rows})


if __name__ == "__main__":
    main()
