import csv
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from src.errors import UserError
from src.loggers import AppendingCSVLogger, forget_after


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows without the time column, which every row must have."""
    with (folder / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert all(list(row)[:3] == ["step", "epoch", "time"] and float(row["time"]) >= 0 for row in found)
    return [{key: value for key, value in row.items() if value and key != "time"} for row in found]


def test_every_row_is_written_at_once(tmp_path: Path) -> None:
    logger = AppendingCSVLogger(str(tmp_path / "run"))
    for step in (0, 7, 50):
        logger.log_metrics({"loss": torch.tensor(step / 4)}, step)
        assert rows(tmp_path / "run")[-1] == {"loss": str(step / 4), "step": str(step)}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_reopening_continues_the_file(tmp_path: Path) -> None:
    for step in range(3):
        logger = AppendingCSVLogger(str(tmp_path))
        logger.log_metrics({"loss": step / 2}, step)
        logger.finalize("success")
    assert rows(tmp_path) == [{"loss": str(step / 2), "step": str(step)} for step in range(3)]


def test_one_row_for_each_step(tmp_path: Path) -> None:
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_metrics({"epoch": 0, "loss": 1.0}, 5)
    logger.log_metrics({"epoch": 0, "loss": 2.0, "longer name": 2.0}, 10)
    logger.log_metrics({"fid": 9.0}, 10)
    # A new logger object also completes the row.
    AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 3.0}, 10)
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 4.0}, 15)
    logger.log_metrics({"fid": 8.0}, 15)
    assert rows(tmp_path) == [
        {"step": "5", "epoch": "0", "loss": "1.0"},
        {"step": "10", "epoch": "0", "loss": "3.0", "longer name": "2.0", "fid": "9.0"},
        {"step": "15", "loss": "4.0", "fid": "8.0"},
    ]


def test_a_resumed_run_deletes_rows_after_its_checkpoint(tmp_path: Path) -> None:
    forget_after(tmp_path, 3)
    logger = AppendingCSVLogger(str(tmp_path))
    for step in range(1, 6):
        logger.log_metrics({"loss": float(step)}, step)
    forget_after(tmp_path, 3)
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3"]
    AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 0.5}, 4)
    assert rows(tmp_path)[2:] == [{"step": "3", "loss": "3.0"}, {"step": "4", "loss": "0.5"}]


def test_files_of_older_versions_get_the_new_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"loss,step,fid\r\n1.0,2,\r\n0.5,4,9.0\r\n")
    AppendingCSVLogger(str(tmp_path)).log_metrics({"fid": 8.0}, 4)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["step"], row["loss"], row["fid"]) for row in found] == [("2", "1.0", ""), ("4", "0.5", "8.0")]


def test_time_continues_after_reopening(tmp_path: Path) -> None:
    for step in (1, 2):
        logger = AppendingCSVLogger(str(tmp_path))
        time.sleep(0.05)
        logger.log_metrics({"loss": 1.0}, step)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        first, second = (float(row["time"]) for row in csv.DictReader(file))
    # Times are rounded to hundredths.
    assert first >= 0.04 and second >= first + 0.04


def test_new_columns_are_added_also_after_reopening(tmp_path: Path) -> None:
    AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 1.0}, 0)
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_metrics({"fid": 9.0}, 1)
    logger.log_metrics({"loss": 0.5, "a": 2.0}, 2)
    assert rows(tmp_path) == [
        {"loss": "1.0", "step": "0"},
        {"fid": "9.0", "step": "1"},
        {"loss": "0.5", "a": "2.0", "step": "2"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_failed_rewrite_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 1.0}, 0)
    before = (tmp_path / "metrics.csv").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        logger.log_metrics({"fid": 1.0}, 1)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_killed_process_loses_no_logged_row(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 0.25}, 3)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert rows(tmp_path) == [{"loss": "0.25", "step": "3"}]


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_truncated_row_is_dropped(tmp_path: Path, cut: int) -> None:
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"loss": 2.0}, 1)
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 3.0}, 2)
    assert rows(tmp_path) == [{"loss": "1.0", "step": "0"}, {"loss": "3.0", "step": "2"}]


@pytest.mark.parametrize("content", ["", "lo"])
def test_a_truncated_header_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    AppendingCSVLogger(str(tmp_path)).log_metrics({"loss": 3.0}, 2)
    assert rows(tmp_path) == [{"loss": "3.0", "step": "2"}]


def test_only_rank_zero_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    AppendingCSVLogger(str(tmp_path / "run")).log_metrics({"loss": 3.0}, 2)
    assert not (tmp_path / "run").exists()


def test_trainer_log_dir_is_the_run_folder(tmp_path: Path) -> None:
    trainer = Trainer(logger=AppendingCSVLogger(str(tmp_path)), accelerator="cpu", enable_progress_bar=False)
    assert trainer.log_dir is not None
    assert Path(trainer.log_dir) == tmp_path
