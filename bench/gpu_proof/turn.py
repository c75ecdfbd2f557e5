"""When a stage may measure: the program sends a line once it is the stage's turn."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

READY = "GPU_PROOF_READY"
"""Environment variable: the file that a stage makes once it is prepared."""


@cache
def await_turn() -> None:
    """Say that this process is prepared and wait for its turn; at once if it has come before."""
    if READY in os.environ:
        Path(os.environ[READY]).touch()
    if not sys.stdin.readline():
        sys.exit("the program ended before the turn of this stage")
