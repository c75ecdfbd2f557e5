"""One line for an error that a user can cause: a mistake, or a disk that refuses a file."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..errors import UserError

_LONGEST = 900
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR),
    *(errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield ``error``, its cause, the cause of that, and so on."""
    # `raise cause from error` inside a handler of `error` makes a cycle.
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def flat(text: str) -> str:
    """Return ``text`` in one line; file names may contain line breaks and codes that change a terminal."""
    printable = "".join(letter if letter.isprintable() or letter.isspace() else "?" for letter in text)
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def of_mistake(error: BaseException) -> str | None:
    """Return the line of the first mistake among the causes of ``error``, or None."""
    for cause in chain(error):
        # Lightning's exception for a wrong configuration; its class is not imported, because that would take seconds.
        if isinstance(cause, UserError) or type(cause).__name__ == "MisconfigurationException":
            return flat(str(cause))
    return None


def of_disk(error: BaseException) -> str | None:
    """Return the line for a file that the disk refuses, None for another error."""
    if not isinstance(error, OSError) or error.errno not in _DISK_ERRORS:
        return None
    where = error.filename or "a file"
    return f"{where} cannot be written ({error.strerror}): free disk space, check permissions, or choose another folder"


def plain_line(error: BaseException) -> str | None:
    """Return the line to show for ``error`` in a command without Hydra, None if it is a programming error."""
    return of_mistake(error) or of_disk(error)
