"""The exceptions that are shown to a user as a single line, and a word for it."""


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and what to do.

    Args:
        message: the line.
        shared: every process of the run raises it, so that one of them is enough to show it.
    """

    exit_code = 1

    def __init__(self, message: str, *, shared: bool = False) -> None:
        super().__init__(message)
        self.shared = shared


class Interrupted(UserError):
    """The run was asked to stop and did, all its processes together, with everything written.

    Args:
        message: where it stopped and how to go on.
        signal_number: the signal that asked.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, shared=True)
        # The shell's convention for a process ended by a signal.
        self.exit_code = 128 + signal_number


def bytes_in_words(count: int) -> str:
    """``count`` bytes as ``3.3 GB``, in the unit that shows two digits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
