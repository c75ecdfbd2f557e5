"""Progress of long work as log lines, which read well in a file too."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)


class Progress:
    """Logs count, rate and time left every few seconds.

    Args:
        what: what is counted.
        total: how many there are.
        every: seconds between lines.
    """

    def __init__(self, what: str, total: int, every: float = 5.0) -> None:
        self._what, self._total, self._every = what, total, every
        self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Counts ``count`` more; the last one always gets its line."""
        self._done += count
        now = time.monotonic()
        if now - self._last < self._every and self._done < self._total:
            return
        self._last = now
        rate = self._done / max(now - self._start, 1e-9)
        minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
        _log.info(
            "%s: %s of %s, %s/s, %d:%02d left",
            self._what,
            f"{self._done:,}",
            f"{self._total:,}",
            f"{rate:,.0f}",
            minutes,
            seconds,
        )
