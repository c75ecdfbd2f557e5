"""A table of all logged values that survives interruptions."""

from __future__ import annotations

import csv
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from typing_extensions import override

from ..io.atomic import refusals, replacing, write_bytes

_ADVICE = "free space or fix permissions, then resume with ckpt_path=last"


class AppendingCSVLogger(CSVLogger):
    """Writes ``metrics.csv``, one row for each time something is logged.

    Reopening the folder continues the file. A resumed run logs the steps after its checkpoint once more: where a
    step occurs twice, the later row counts.

    Args:
        save_dir: folder of ``metrics.csv``.
        prefix: begins the name of every column.
        flush_logs_every_n_steps: rows reach the disk at every n-th step.
    """

    def __init__(self, save_dir: str, prefix: str = "", flush_logs_every_n_steps: int = 1) -> None:
        super().__init__(
            save_dir, name="", version="", prefix=prefix, flush_logs_every_n_steps=flush_logs_every_n_steps
        )

    @property
    @override
    def log_dir(self) -> str:
        return self.save_dir

    @property
    @override
    def root_dir(self) -> str:
        return self.save_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the rows."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        assert isinstance(self._experiment, ExperimentWriter)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    @override
    def save(self) -> None:
        with refusals(Path(self.metrics_file_path), _ADVICE):
            super().save()

    @override
    def _check_log_dir_exists(self) -> None:
        # The base class deletes the file here.
        path = Path(self.metrics_file_path)
        if not path.exists():
            return
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            # The process was killed while it wrote the last row.
            complete = content[: content.rfind(b"\n") + 1]
            write_bytes(path, complete)
            content = complete
        if not content:
            path.unlink()
            return
        with path.open(newline="") as file:
            self.metrics_keys = next(csv.reader(file))

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with (
            replacing(path, _ADVICE) as temporary,
            path.open(newline="") as old,
            temporary.open("w", newline="") as new,
        ):
            writer = csv.DictWriter(new, fieldnames)
            writer.writeheader()
            writer.writerows(csv.DictReader(old))
