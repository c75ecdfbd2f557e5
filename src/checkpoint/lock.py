"""Ensure that only one run at a time writes to a run folder."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from ..errors import UserError
from ..io.atomic import write_json
from ..io.untrusted import read_json

_log = logging.getLogger(__name__)


class RunLock:
    """Lock a run folder while a run uses it; a context manager.

    The operating system releases the lock when its process ends, however it ends. A second file names the holder. Only
    rank 0 of a run takes the lock.

    Args:
        run_dir: the run folder; created if it does not exist.

    Raises:
        UserError: on entering, if another process holds the folder or it cannot be written.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._is_new = False
        self._owner = self.run_dir / ".lock.json"
        self._lock = FileLock(self.run_dir / ".lock")

    def __enter__(self) -> RunLock:
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined] # Lightning sets it on the function
            self._acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            if self._is_new and [path.name for path in self.run_dir.iterdir()] == [".lock"]:
                # Refused before anything was written.
                shutil.rmtree(self.run_dir)
            self._lock.release()

    def _acquire(self) -> None:
        if self.run_dir.exists() and not self.run_dir.is_dir():
            raise UserError(f"{self.run_dir} is a file, not a folder: choose another name for the folder")
        try:
            self._is_new = not self.run_dir.exists()
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"{self.run_dir} is in use by {self._holder()}: wait for it, stop it, or choose another name with name="
            ) from error
        except OSError as error:
            raise UserError(
                f"{self.run_dir} cannot be locked ({error.strerror}): check its permissions or set paths.log_dir"
            ) from error
        if self._owner.exists():
            _log.warning(
                "%s was locked by %s, which ended unexpectedly: the lock is taken over", self.run_dir, self._holder()
            )
        write_json(self._owner, {"pid": os.getpid(), "host": socket.gethostname()})

    def _holder(self) -> str:
        try:
            owner = read_json(self._owner)
            return f"process {owner['pid']} on {owner['host']}"
        except (ValueError, KeyError, TypeError):
            # The holder is between taking the lock and writing its name, or was killed there.
            return "another process"
