"""Make a command independent of its standard output and standard error: it continues when they are full or closed."""

from __future__ import annotations

import io
import logging
import os
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

_REMEMBERED = 10_000


class _LenientFile(io.FileIO):
    """A file descriptor that drops failed writes: a full disk, a pipe that `head` has left."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def ignore_write_errors() -> None:
    """Make writing to the standard streams of this process never fail; replaced streams are left unchanged."""
    for name, descriptor, original in (("stdout", 1, sys.__stdout__), ("stderr", 2, sys.__stderr__)):
        stream = vars(sys)[name]
        if stream is None:
            # Closed by the parent process: the next opened file must not take this descriptor.
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115 # a descriptor
        elif stream is original and isinstance(stream, io.TextIOWrapper):
            forgiving = io.TextIOWrapper(
                io.BufferedWriter(_LenientFile(descriptor, "w", closefd=False)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=True,
            )
            setattr(sys, name, forgiving)


class RunLog(MemoryHandler):
    """Keep log records until the run folder is locked, then write them there.

    If the log file cannot be written, one line says so.
    """

    def __init__(self) -> None:
        super().__init__(_REMEMBERED, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def open(self, path: Path) -> None:
        """Append all records so far, and from now on, to ``path``."""
        try:
            target = _LogFile(path, encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning("%s cannot be written (%s): no log file", path, error.strerror)
            return
        target.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self.setTarget(target)
        # From here on every record is written at once.
        self.capacity = 0
        self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.target is None:
            del self.buffer[:-_REMEMBERED]


class _LogFile(logging.FileHandler):
    _told = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Report once that the file cannot be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            sys.stdout.write(f"{self.baseFilename} cannot be written ({error.strerror}): its lines are incomplete\n")

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            # At the end of the process; `emit` reports its own failures.
            if not self._told:
                raise
