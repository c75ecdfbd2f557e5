"""The log of a command: kept in memory until the run folder is known, then written there."""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

_REMEMBERED = 10_000


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
    _warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Report once that the file cannot be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._warned:
            self._warned = True
            sys.stdout.write(f"{self.baseFilename} cannot be written ({error.strerror}): its lines are incomplete\n")

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            # At the end of the process; `emit` reports its own failures.
            if not self._warned:
                raise
