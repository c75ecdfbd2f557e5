"""When a stage may measure: the program sends a line once it is the stage's turn."""

from __future__ import annotations

import sys
from functools import cache


@cache
def await_turn() -> None:
    """Wait for the turn of this process; at once if it has come before."""
    if not sys.stdin.readline():
        sys.exit("the program ended before the turn of this stage")
