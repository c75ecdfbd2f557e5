"""The exceptions that are shown to a user as a single line."""


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and what to do."""

    exit_code = 1


class Interrupted(UserError):
    """The run was asked to stop and did, with everything written.

    Args:
        message: where it stopped and how to go on.
        signal_number: the signal that asked.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        # The shell's convention for a process ended by a signal.
        self.exit_code = 128 + signal_number
