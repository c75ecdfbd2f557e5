"""Exceptions that are shown to the user as one line, and the words of such lines."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what is wrong, the value, what to type instead.

    Args:
        message: the line.
        shared: every process of the run raises it, so only one shows it.
    """

    exit_code = 1

    def __init__(self, message: str, *, shared: bool = False) -> None:
        super().__init__(message)
        self.shared = shared


class NotFinite(UserError):
    """Losses or gradients were not finite for too many steps in a row; every process of the run raises it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, shared=True)


class Interrupted(UserError):
    """All processes of the run stopped on a signal, after writing a checkpoint.

    Args:
        message: where it stopped and how to resume.
        signal_number: the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, shared=True)
        # The shell's convention for a process that was ended by a signal.
        self.exit_code = 128 + signal_number


def format_bytes(count: int) -> str:
    """Format ``count`` bytes, such as ``3.3 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def first_line(error: BaseException) -> str:
    """Return the first line of a message of another library, or the kind of the error if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def some(items: Iterable[object], most: int = 6) -> str:
    """List the first ``most`` items, and how many more there are."""
    listed = [str(item) for item in items]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
