"""The only way to write a file or folder: under a temporary name next to the target, flushed to the disk, renamed.

A reader sees either the old or the complete new content, whenever the writer is killed and however full the disk is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError

ADVICE = "free space, fix permissions or choose another folder"

_SUFFIX = ".tmp"

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
"""System errors that a user can fix."""


@contextmanager
def replacing(path: str | os.PathLike[str], advice: str = ADVICE, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, which is renamed to ``path`` if the block succeeds.

    Args:
        path: a file, or a folder that does not exist yet; missing parent folders are made.
        advice: end of the error message: what the user can do.
        durable: flush to the disk before renaming. False only for many small files that are easily written again.

    Raises:
        UserError: the system refuses to write.
    """
    target = Path(path)
    with refusals(target, advice), temporary_next_to(target) as temporary, _named(target, temporary):
        yield temporary
        if durable:
            for written in [*temporary.rglob("*"), temporary] if temporary.is_dir() else [temporary]:
                _flush(written)
        temporary.replace(target)
        if durable:
            _flush(target.parent)


def write_bytes(path: str | os.PathLike[str], content: bytes, advice: str = ADVICE) -> None:
    """Write ``content``; raise UserError if the system refuses."""
    with replacing(path, advice) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str, advice: str = ADVICE) -> None:
    """Write ``text`` as UTF-8; raise UserError if the system refuses."""
    write_bytes(path, text.encode(), advice)


def write_json(path: str | os.PathLike[str], content: Any, advice: str = ADVICE) -> None:
    """Write plain containers as indented JSON; raise UserError if the system refuses."""
    write_text(path, json.dumps(content, indent=2) + "\n", advice)


def set_aside(path: Path, advice: str = ADVICE) -> Path:
    """Rename a damaged file to ``<name>.damaged`` and return the new path; raise UserError if the system refuses."""
    with refusals(path, advice):
        return path.replace(path.with_name(f"{path.name}.damaged"))


@contextmanager
def temporary_next_to(target: Path) -> Iterator[Path]:
    """Yield an unused path in the folder of ``target``, created if missing; delete what exists there at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{_SUFFIX}")
    try:
        yield temporary
    finally:
        _delete(temporary)


def remove_leftovers(folder: Path, name: str = "", *, recursive: bool = False) -> None:
    """Delete temporary files of killed processes; call it only while no other process writes there.

    Args:
        folder: where to look.
        name: name of the target file or folder; empty for any.
        recursive: look in folders inside ``folder`` too.
    """
    pattern = f".{name}.*{_SUFFIX}" if name else f".*{_SUFFIX}"
    for leftover in [*(folder.rglob(pattern) if recursive else folder.glob(pattern))]:
        _delete(leftover)


@contextmanager
def refusals(target: Path, advice: str = ADVICE) -> Iterator[None]:
    """Turn a system error inside the block into one line about writing ``target``.

    Raises:
        UserError: what cannot be written, why, and ``advice``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise Refusal(target, reason, advice) from error


class Refusal(UserError):
    """A file or folder that the system refuses to write.

    Args:
        target: the file or folder.
        reason: why.
        advice: what the user can do.
    """

    def __init__(self, target: Path, reason: str, advice: str = ADVICE) -> None:
        super().__init__(f"{target} cannot be written ({reason}): {advice}")
        self.target, self.reason, self.advice = target, reason, advice

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.target, self.reason, self.advice)


@contextmanager
def _named(target: Path, temporary: Path) -> Iterator[None]:
    """Report a refused file in the folder ``temporary`` as ``target``: the user does not know temporary names."""
    try:
        yield
    except Refusal as error:
        if not error.target.is_relative_to(temporary):
            raise
        raise Refusal(target, error.reason, error.advice) from error


def _reason(error: BaseException) -> str | None:
    """Return why the system refused, None if ``error`` has another cause."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # torch reports a failed write as its own RuntimeError, raised while handling the system error.
    cause = error.__cause__ or error.__context__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause.strerror if cause is not None and cause.errno in REFUSALS else None


def _delete(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        # On a file system that became read-only the temporary file stays; report the original error.
        return


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # A renaming is durable only after the folder is flushed; some network file systems cannot flush folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
