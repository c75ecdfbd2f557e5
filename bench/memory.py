"""Peak memory of a training step, each variant in a process of its own: ``python -m bench.memory NAME BATCH``."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping

import torch

from bench.variants import Step, Variant, variants


def peaks(names: Mapping[str, Variant], batch: int) -> dict[str, float]:
    """Peak resident memory, in bytes, of a process that trains each variant for two steps of ``batch`` images."""
    return {name: _peak(name, batch) for name in names}


def _peak(name: str, batch: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory", name, str(batch)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} failed: {done.stderr.strip()[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the peak of the variant and the batch size given on the command line."""
    name, batch = sys.argv[1], int(sys.argv[2])
    step = Step(variants(compiled=True)[name], batch, torch.device("cpu"))
    for _ in range(2):
        step.train()
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    sys.stdout.write(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) + "\n")


if __name__ == "__main__":
    main()
