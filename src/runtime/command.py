"""How every command starts and ends: signals are handled, output that is full or closed is ignored, errors of the user
are one line.

Only the standard library is imported here, so that signals are handled before anything that takes time.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import UserError
from . import signals
from .error_lines import plain_line
from .streams import ignore_write_errors

Lines = Callable[[BaseException], str | None]
"""``lines(error)`` returns the line to show for an error, None for a programming error."""
Main = Callable[[Sequence[str]], str]

ENDINGS = (KeyboardInterrupt, signals.Stopped, Exception)
"""What can end a command."""


def start() -> None:
    """Handle signals, and ignore that the output is full or closed, from here on."""
    signals.install()
    ignore_write_errors()


def ending(error: BaseException, lines: Lines = plain_line) -> tuple[str, int] | None:
    """Return the line and the exit code of a command that ``error`` ends, None for a programming error."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, signals.Stopped):
        queue = signals.requeue() if error.number == signal.SIGUSR1 else ""
        return f"stopped by {error}; {queue}finished results are kept", 128 + error.number
    line = lines(error)
    return None if line is None else (line, error.exit_code if isinstance(error, UserError) else 1)


def guarded(work: Callable[[], int | None]) -> int:
    """Return the exit code of ``work``: what it returns, 0 for None; a mistake or a signal is shown as one line."""
    try:
        start()
        return work() or 0
    except ENDINGS as error:
        found = ending(error)
        if found is None:
            raise
        sys.stdout.flush()
        sys.stderr.write(f"error: {found[0]}\n")
        return found[1]


def command(text: str | None) -> Callable[[Main], Callable[[Sequence[str]], int]]:
    """Make ``main(arguments)``, which returns what is printed, a command without Hydra that returns its exit code.

    Args:
        text: the output of ``--help``.
    """

    def decorate(main: Main) -> Callable[[Sequence[str]], int]:
        @functools.wraps(main)
        def run(arguments: Sequence[str]) -> int:
            def work() -> None:
                asks = bool({"-h", "--help"} & set(arguments))
                sys.stdout.write(text or "" if asks else f"{main(arguments)}\n")

            return guarded(work)

        return run

    return decorate
