"""Files from other people: check what a path is before it is opened, and its size before memory is allocated."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from ..errors import UserError, format_bytes

MAX_RECORD = 1 << 26
"""Bytes of a JSON or YAML document; larger ones are refused."""

_MAX_SMALL, _MAX_FACTOR = 1 << 26, 200

_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def unpack_refusal(size: int, packed: int) -> str | None:
    """Return why data of ``size`` bytes packed into ``packed`` bytes are not unpacked; None if they may be.

    Measured pictures and arrays have smaller ratios: only constant data reach a factor of 200.
    """
    if size <= _MAX_SMALL or size <= _MAX_FACTOR * packed:
        return None
    return f"unpacks from {format_bytes(packed)} to {format_bytes(size)}, as only files made to fill the memory do"


def unreadable_reason(path: str | os.PathLike[str], most: int | None = None) -> str | None:
    """Return why ``path`` cannot be read as a file, such as ``is a pipe, not a file``; None for a regular file.

    Args:
        path: the file; links are followed.
        most: maximum size in bytes; None for any size.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return "is a link to a missing file" if Path(path).is_symlink() else "does not exist"
    except OSError as error:
        return "is a link to itself" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
    except ValueError as error:
        return f"cannot be read ({error})"
    if not stat.S_ISREG(status.st_mode):
        return f"{_KINDS.get(stat.S_IFMT(status.st_mode), 'is something else')}, not a file"
    if most is not None and status.st_size > most:
        return f"has {format_bytes(status.st_size)}, more than the limit of {format_bytes(most)}"
    return None


def check_readable(path: str | os.PathLike[str], advice: str, most: int | None = None) -> None:
    """Raise UserError that ends with ``advice`` unless ``path`` is a regular file of at most ``most`` bytes."""
    why = unreadable_reason(path, most)
    if why is not None:
        raise UserError(f"{path} {why}: {advice}")


def read_bytes(path: str | os.PathLike[str], advice: str, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes; raise UserError that ends with ``advice``
    otherwise.
    """
    check_readable(path, advice, most)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}") from error


def read_record(path: str | os.PathLike[str], most: int = MAX_RECORD) -> bytes:
    """Return the content of a regular file; raise ValueError if it is missing, another kind of file, or too large.

    Args:
        path: the file.
        most: maximum size in bytes.
    """
    why = unreadable_reason(path, most)
    if why is not None:
        raise ValueError(why)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON document of at most ``MAX_RECORD`` bytes.

    Raises:
        ValueError: the file is missing, not a regular file, too large, nested too deeply, or not JSON.
    """
    return parse_json(read_record(path))


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON document; raise ValueError if it is nested too deeply or is not JSON."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
