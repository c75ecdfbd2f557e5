"""A net in its own process, which measures on request: ``python -m bench.speed.worker NAME BATCH CLOCK``.

Each variant has its own allocator and its own memory peak, as in use.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import torch

from bench.speed.variants import Step, variants
from bench.timing import choose_clock, clock_name, now
from src.cli.allocator import keep_freed_memory

_MARK = "measured "


class Worker:
    """The parent's side. The child is ready after the first ``wait``.

    Args:
        name: name of the variant.
        batch: images per step.
    """

    def __init__(self, name: str, batch: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.worker", name, str(batch), clock_name()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> float:
        """Return seconds for ``forward`` or ``train``, bytes for ``peak``."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self.wait()

    def wait(self) -> float:
        """Return the next answer; the first answer means that the net is built."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return float(json.loads(line.removeprefix(_MARK)))
        raise RuntimeError(f"measuring {self.name} failed, see above")

    def close(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Answer the commands on standard input."""
    name, batch = sys.argv[1], int(sys.argv[2])
    choose_clock(sys.argv[3])
    if name.startswith("ours"):
        # Like the entry scripts.
        keep_freed_memory()
    step = Step(variants()[name], batch, torch.device("cpu"))
    runs = {"forward": step.forward, "train": step.train}
    _answer(0.0)
    for line in sys.stdin:
        if line.strip() == "peak":
            _answer(_peak())
            continue
        start = now()
        runs[line.strip()]()
        _answer(now() - start)


def _peak() -> float:
    """Return the peak memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a child starts with the peak of its parent.
        (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())
        return 1024.0 * int(kilobytes)
    # macOS counts in bytes.
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _answer(value: float) -> None:
    sys.stdout.write(_MARK + json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
