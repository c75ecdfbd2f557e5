"""Run ``pytest tests/gpu``: count passed cases and list failed ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable

from bench.gpu_proof.setup import RecordRow, Setup
from bench.report import ROOT
from bench.rows import row

SECONDS = 110.0
"""Limit of pytest, below that of the stage."""

_WORDS = "PASSED|FAILED|ERROR|SKIPPED"
# "tests/gpu/test_x.py::test PASSED [ 3%]", or of parallel workers "[gw0] [ 3%] PASSED tests/gpu/test_x.py::test".
_OUTCOME = re.compile(
    rf"(?:\[gw\d+\] \[ *\d+%\] (?P<first>{_WORDS}) )?(?P<case>tests/gpu/\S+::.+?)(?: +(?P<last>{_WORDS})\b.*)?\s*$"
)


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Run every case that needs a CUDA device; on a CPU only the noise tests."""

    def run() -> None:
        workers = ["-n", "6", "--dist", "worksteal"]
        chosen = ["tests/gpu", "-m", "gpu", *workers] if setup.on_gpu else ["tests/gpu/test_noise.py"]
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--tb=short", *chosen]
        log = setup.work / "pytest.log"
        # A file and not a pipe: workers that outlive pytest would keep a pipe open.
        with log.open("w", encoding="utf-8") as output:
            status = subprocess.run(
                # In the foreground: pytest and its workers stay in the process group of this stage and end with it.
                ["timeout", "--foreground", "-s", "KILL", str(SECONDS), *command],
                cwd=ROOT,
                env={**os.environ, "SCORE_SDE_GPU_RECORD": str(setup.out / "tests.jsonl")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        printed = log.read_text(encoding="utf-8", errors="replace")
        sys.stderr.write(printed)
        found = outcomes(printed.splitlines())
        for word in ("PASSED", "SKIPPED"):
            record_row(row("tests/gpu", word.lower(), float(sum(seen == word for seen in found.values())), "cases"))
        bad = sorted(case for case, seen in found.items() if seen in ("FAILED", "ERROR"))
        record_row(row("tests/gpu", "failed", float(len(bad)), "cases", at_most=0.0))
        for case in bad[:20]:
            record_row(row("tests/gpu", f"failed: {case.removeprefix('tests/gpu/')}", 1.0, ""))
        if status:
            sys.exit(f"pytest ended with status {status}; 137 means that it exceeded its limit of {SECONDS:.0f} s")

    return run


def outcomes(lines: Iterable[str]) -> dict[str, str]:
    """Return the outcome of each case from the lines of ``pytest -v``, with or without parallel workers."""
    found = {}
    for line in lines:
        match = _OUTCOME.match(line)
        if match and (match["first"] or match["last"]):
            found[match["case"]] = match["first"] or match["last"]
    return found
