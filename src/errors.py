"""The one exception that is shown to a user as a single line."""


class UserError(Exception):
    """Something the user can mend: the message is one line that says what is wrong and what to do."""
