"""The record of a run folder: how each training in it started and ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...io.atomic import write_json
from ...io.untrusted import read_json
from ...runtime.energy import EnergyMeter
from ...runtime.provenance import provenance

FILE = "run.json"


class RunHistory:
    """Write ``run.json`` in the run folder: for each start command, commit, versions, host, outcome, duration, energy.

    Args:
        run_dir: the folder, which belongs to this run.
        overrides: settings of the command line.
        resumed: the checkpoint from which the run resumes; None for a new run.
    """

    def __init__(self, run_dir: Path, overrides: Sequence[str], resumed: Path | None) -> None:
        self.path = run_dir / FILE
        self._begin, self._energy = time.monotonic(), EnergyMeter()
        self._entry: dict[str, Any] = {
            **provenance(),
            "overrides": list(overrides),
            "resumed_from": None if resumed is None else str(resumed),
            "ended": "running",
        }
        self._earlier = self._read()
        self._write()

    def end(self, how: str, step: int) -> None:
        """Record how this start ended, at which step, after how many seconds and joules."""
        spent = {"seconds": round(time.monotonic() - self._begin, 1), "energy": dict(self._energy.stop())}
        self._entry |= {"ended": how, "step": step, **spent}
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"starts": [*self._earlier, self._entry]})

    def _read(self) -> list[Any]:
        try:
            starts = read_json(self.path)["starts"]
        except (ValueError, KeyError, TypeError):
            # A new run, or a run of an older version.
            return []
        return list(starts) if isinstance(starts, list) else []
