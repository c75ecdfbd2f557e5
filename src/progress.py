"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

_log = logging.getLogger(__name__)


class LongCall:
    """Log every few seconds that one call still runs; a context manager around work without countable parts.

    Compilation, the square root of a covariance or the search for nearest neighbors can take minutes without a line.

    Args:
        what: the work, such as ``computing fid``.
        every: seconds between two lines; nothing is logged about a shorter call.
        enabled: False on all processes except the first.
        clock: returns seconds.
        wait: ``wait(event, seconds)`` returns whether the call ended within ``seconds``.
    """

    def __init__(
        self,
        what: str,
        *,
        every: float = 10.0,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.what = what
        # Shorter intervals are for tests of other lines.
        self._every, self._enabled = max(every, 1.0), enabled
        self._clock, self._wait = clock, wait
        self._ended = threading.Event()

    def __enter__(self) -> LongCall:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def start(self) -> None:
        """Begin to wait; once per object."""
        if self._enabled:
            threading.Thread(target=self._report, args=(self._clock(),), daemon=True).start()

    def end(self) -> None:
        """Log no more lines; further calls do nothing."""
        self._ended.set()

    def _report(self, start: float) -> None:
        while not self._wait(self._ended, self._every):
            _log.info("%s has taken %s so far", self.what, duration(self._clock() - start))


class Progress:
    """Report finished items, rate and time left; the last state is always reported.

    Nothing can be said of the rate before the first report of the caller, whose work may include compilation: until
    then lines tell how long it has taken.

    Args:
        what: the work, such as ``sampling``.
        total: number of items; None if that is not known.
        unit: name of the items.
        every: seconds between two lines of a log.
        enabled: False on all processes except the first.
        terminal: whether to draw a bar; None asks stderr.
        clock: returns seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str = "images",
        *,
        every: float = 5.0,
        enabled: bool = True,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self._every, self._clock = every, clock
        self._done = 0.0
        self._whole = 0.0
        self._enabled = enabled and total != 0
        self._start = self._last = clock()
        self._reported = -1.0
        terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar = _Bar(what, total, unit) if self._enabled and terminal else None
        lines = self._enabled and self._bar is None
        self._first = LongCall(f"{what}: the first step", every=max(every, 10.0), enabled=lines, clock=clock)

    def __enter__(self) -> Progress:
        self._first.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._first.end()
        if self._bar is not None:
            self._bar.close()
        elif self._enabled and error is None and self._reported != self._done:
            self._report()

    def add(self, count: float) -> None:
        """Report that ``count`` more items are finished."""
        self._whole += count
        self.set_fraction(0.0)

    def set_fraction(self, amount: float) -> None:
        """Report the finished fraction of the current items, in items."""
        self._first.end()
        self._done = self._whole + amount
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(self._done, self.rate)
        elif self._clock() - self._last >= self._every:
            self._report()

    @property
    def rate(self) -> float:
        """Items per second since the start."""
        return self._done / max(self._clock() - self._start, 1e-9)

    def _report(self) -> None:
        self._last, self._reported = self._clock(), self._done
        _log.info("%s: %s", self.what, state(self._done, self.total, self.unit, self.rate))


def state(done: float, total: int | None, unit: str, rate: float) -> str:
    """Describe ``done`` of ``total``, the rate and, if the total is known, the time left."""
    pace = f"{rate:.3g}/s" if rate >= 1 or rate == 0 else f"{1 / rate:.3g} s each"
    if total is None:
        return f"{int(done + 1e-6):,} {unit}, {pace}"
    left = duration((total - done) / rate) if rate > 0 else "?"
    # Sums of fractions can be slightly below a whole number.
    return f"{int(done + 1e-6):,} of {total:,} {unit}, {pace}, {left} left"


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Bar:
    """A progress bar of rich, followed by the same text."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._unit, self._total = unit, total
        columns = (TextColumn(what), BarColumn(), TextColumn("{task.fields[state]}"))
        self._rich = RichProgress(*columns, console=Console(stderr=True), transient=False)
        self._task = self._rich.add_task(what, total=total, state="")
        self._rich.start()

    def update(self, done: float, rate: float) -> None:
        self._rich.update(self._task, completed=done, state=state(done, self._total, self._unit, rate))

    def close(self) -> None:
        self._rich.stop()
