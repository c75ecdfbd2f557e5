"""Turns of the stages: the program sends a line when a stage may measure."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

READY = "GPU_PROOF_READY"
"""Environment variable with the file that a stage creates when it is prepared."""


@cache
def wait_for_turn() -> None:
    """Report that this process is prepared and wait for its turn; later calls return at once."""
    if READY in os.environ:
        Path(os.environ[READY]).touch()
    if not sys.stdin.readline():
        sys.exit("the program ended before the turn of this stage")
