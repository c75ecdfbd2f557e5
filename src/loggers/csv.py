"""A table of all logged values that survives interruptions."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from typing_extensions import override

from ..io.atomic import refusals, set_aside, write_text
from ..io.untrusted import read_record

FILE = "metrics.csv"

_log = logging.getLogger(__name__)

_MOST = 1 << 30
"""Content of a table, in bytes."""
_FIRST = ("step", "epoch", "time")
_ADVICE = "free disk space or fix permissions, then resume with ckpt_path=last"


class AppendingCSVLogger(Logger):
    """Write ``metrics.csv`` with one row for each step at which something is logged.

    The first columns are ``step``, the number of finished optimizer steps, ``epoch``, and ``time``, the seconds of
    training over all starts of the run. Values that are logged later for the step of the last row are added to that
    row. Every row is on the disk when the call returns. Reopening the folder continues the file.

    Args:
        save_dir: folder of ``metrics.csv``.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._folder = Path(save_dir)
        self._table: _Table | None = None
        self._start = time.monotonic()

    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def version(self) -> str:
        return ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    @override
    def log_dir(self) -> str:
        return str(self._folder)

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self._table is None:
            self._table = _Table(self._folder / FILE)
            self._start -= self._table.time
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        seconds = f"{time.monotonic() - self._start:.2f}"
        self._table.add({"step": 0 if step is None else step, "time": seconds, **values})

    @override
    def log_hyperparams(self, params: Any, *arguments: Any, **settings: Any) -> None:
        """Do nothing: ``config.yaml`` of the run folder holds the hyper-parameters."""


def forget_after(run_dir: Path, step: int) -> None:
    """Remove the rows of later steps from ``metrics.csv``, because a run resumes from ``step`` and logs them again."""
    path = run_dir / FILE
    if path.exists():
        _Table(path).keep_until(step)


class _Table:
    """A CSV file whose last row can still grow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = list(_FIRST)
        self._last: dict[str, str] = {}
        # Start of the last row in bytes; None before the first row.
        self._place: int | None = None
        if path.exists():
            try:
                self._read()
            except (ValueError, csv.Error) as error:
                self._set_aside(str(error))

    @property
    def time(self) -> float:
        """The time of the last row; 0 before the first row."""
        return float(self._last.get("time") or 0)

    def add(self, values: Mapping[str, Any]) -> None:
        row = {name: str(value) for name, value in values.items()}
        joins = self._place is not None and self._last.get("step") == row["step"]
        row = {**self._last, **row} if joins else row
        new = [name for name in row if name not in self.columns]
        with refusals(self.path, _ADVICE):
            if new or not self.path.exists():
                self.columns += new
                rows = self._rows()
                self._write([*(rows[:-1] if joins else rows), row])
            else:
                self._append(row, at=self._place if joins else None)
        self._last = row

    def keep_until(self, step: int) -> None:
        rows = self._rows()
        kept = [row for row in rows if float(row["step"] or 0) <= step]
        if len(kept) < len(rows):
            with refusals(self.path, _ADVICE):
                self._write(kept)

    def _append(self, row: Mapping[str, str], at: int | None) -> None:
        with self.path.open("r+b") as file:
            self._place = file.seek(0, io.SEEK_END) if at is None else file.seek(at)
            file.write(self._text([row]))
            file.truncate()

    def _write(self, rows: list[dict[str, str]]) -> None:
        head = self._text([dict(zip(self.columns, self.columns, strict=True))])
        body = self._text(rows[:-1])
        write_text(self.path, (head + body + self._text(rows[-1:])).decode(), _ADVICE)
        self._place = len(head) + len(body) if rows else None

    def _text(self, rows: list[Any]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n", extrasaction="ignore").writerows(rows)
        return text.getvalue().encode()

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _set_aside(self, reason: str) -> None:
        """Rename a file that cannot be continued: a damaged table must not end a run."""
        kept = set_aside(self.path, _ADVICE)
        self.columns, self._last, self._place = list(_FIRST), {}, None
        _log.warning("%s is damaged (%s): it is kept as %s, and a new file is started", self.path, reason, kept.name)

    def _read(self) -> None:
        content = read_record(self.path, _MOST)
        # The process was killed while it wrote the last row.
        complete = content[: content.rfind(b"\n") + 1]
        rows = list(csv.DictReader(io.StringIO(complete.decode(), newline="")))
        for row in rows:
            if None in row:
                raise ValueError("a row with more values than columns")
            float(row.get("step") or 0), float(row.get("time") or 0)
        header = list(rows[0]) if rows else next(csv.reader(complete.decode().splitlines()), [])
        self.columns = [*_FIRST, *(name for name in header if name not in _FIRST)]
        if header != self.columns or complete != content or b"\r" in content:
            self._write(rows)
        if rows:
            self._last = {name: value for name, value in rows[-1].items() if value}
            self._place = self.path.stat().st_size - len(self._text(rows[-1:]))
