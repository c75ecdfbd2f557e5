import logging
import os
import threading
from pathlib import Path

import pytest
import torch

from src.checkpoint import find as module
from src.checkpoint import find_checkpoint
from src.checkpoint.read import load_archive, peek_checkpoint, pin
from src.checkpoint.restarts import NothingToResume, note_job
from src.errors import UserError

OLD, NEW = "2025-09-30_23-59-59", "2025-10-01_08-00-00"


def save(path: Path, step: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step, "w": torch.ones(50)}, path)
    return path


def damage(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(torch.ones(50).numpy().tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two runs of ve and one of vp; file times and alphabetical order would both select the wrong file."""
    logs = tmp_path / "logs"
    save(logs / "ve" / NEW / "checkpoints" / "last.ckpt", 3000)
    save(logs / "ve" / NEW / "checkpoints" / "step00001500.ckpt", 1500)
    save(logs / "ve" / NEW / "checkpoints" / "step00002500.ckpt", 2500)
    save(logs / "ve" / NEW / "checkpoints" / "best_fid.ckpt", 2000)
    save(logs / "ve" / OLD / "checkpoints" / "step00009000.ckpt", 9000)
    save(logs / "vp" / OLD / "checkpoints" / "step00000100.ckpt", 100)
    # A run without checkpoints yet.
    (logs / "ve" / "2025-10-02_00-00-00" / "checkpoints").mkdir(parents=True)
    os.utime(logs / "ve" / NEW / "checkpoints" / "last.ckpt", (1, 1))
    return logs


def one_line(spec: str | int | Path, logs: Path, name: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        find_checkpoint(spec, logs, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_last_is_the_newest_checkpoint_of_the_newest_run(logs: Path) -> None:
    newest = logs / "ve" / NEW / "checkpoints" / "last.ckpt"
    assert find_checkpoint("last", logs, "ve") == newest
    assert find_checkpoint("last", logs) == newest
    assert find_checkpoint("last", logs, "vp").name == "step00000100.ckpt"


def test_damaged_checkpoints_are_skipped_with_a_warning(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    damage(folder / "last.ckpt")
    (folder / "step00002500.ckpt").write_bytes((folder / "step00002500.ckpt").read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint("last", logs, "ve") == folder / "step00001500.ckpt"
    [record] = caplog.records
    assert all(name in record.getMessage() for name in ("last.ckpt", "step00002500.ckpt", "step00001500.ckpt"))


def test_last_uses_the_best_checkpoint_only_without_another(logs: Path) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    for other in ("last.ckpt", "step00002500.ckpt"):
        (folder / other).unlink()
    # The best checkpoint is newer, but was written before its step was complete.
    assert find_checkpoint("last", logs, "ve") == folder / "step00001500.ckpt"
    (folder / "step00001500.ckpt").unlink()
    assert find_checkpoint("last", logs, "ve") == folder / "best_fid.ckpt"


def test_a_checkpoint_removed_during_the_search(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    damage(folder / "step00002500.ckpt")
    removed = []

    def race(path: Path) -> None:
        if path.name == "last.ckpt":
            save(folder / "step00003500.ckpt", 3500)
            path.unlink()
            removed.append(path)
        pin(path)

    monkeypatch.setattr(module, "pin", race)
    assert find_checkpoint("last", logs, "ve") == folder / "step00003500.ckpt"
    assert len(removed) == 1
    monkeypatch.setattr(module, "pin", lambda path: (path.unlink(), pin(path)))
    assert "try again" in one_line(folder.parent, logs)


def test_a_found_checkpoint_is_readable_after_its_removal(logs: Path) -> None:
    found = find_checkpoint("last", logs, "ve")
    found.unlink()
    save(found, 4000)
    assert peek_checkpoint(found)["global_step"] == 3000
    found.unlink()
    assert load_archive(found)["global_step"] == 3000
    save(found, 5000)
    assert load_archive(found)["global_step"] == 5000


def test_last_while_a_run_replaces_its_only_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "ve" / NEW / "checkpoints"
    save(folder / "step00000000.ckpt", 0)
    stop = threading.Event()

    def train() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            save(tmp_path / "new", step).replace(folder / f"step{step:08d}.ckpt")
            (folder / f"step{step - 1:08d}.ckpt").unlink()

    run = threading.Thread(target=train)
    run.start()
    try:
        steps = [load_archive(find_checkpoint("last", tmp_path, "ve"))["global_step"] for _ in range(50)]
    finally:
        stop.set()
        run.join()
    assert steps == sorted(steps)


def test_file_names_of_older_versions(tmp_path: Path) -> None:
    folder = tmp_path / "ve" / NEW / "checkpoints"
    for step in (5, 10):
        save(folder / f"step={step:08d}.ckpt", step)
    save(folder / "step00000007.ckpt", 7)
    assert find_checkpoint("last", tmp_path, "ve").name == "step=00000010.ckpt"
    assert find_checkpoint(5, tmp_path, "ve").name == "step=00000005.ckpt"
    assert find_checkpoint(7, tmp_path, "ve").name == "step00000007.ckpt"


def test_a_requeued_job_resumes_its_own_run(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = logs / "ve" / OLD
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert find_checkpoint("last", logs, "ve").parents[1].name == NEW
    note_job(older)
    assert find_checkpoint("last", logs, "ve").parents[1] == older
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert find_checkpoint("last", logs, "ve").parents[1].name == NEW
    # Restarted, but stopped before its first checkpoint: it must not resume the run of another job.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(NothingToResume):
        find_checkpoint("last", logs, "ve")
    # The job id of an array task changes with each start.
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    note_job(older)
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert find_checkpoint("last", logs, "ve").parents[1] == older


def test_a_broken_link_is_skipped(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    (folder / "step00004000.ckpt").symlink_to(folder / "gone")
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint("last", logs, "ve") == folder / "last.ckpt"
    assert "step00004000.ckpt" in caplog.text


def test_an_older_run_is_used_if_the_newest_is_damaged(logs: Path) -> None:
    for path in (logs / "ve" / NEW / "checkpoints").iterdir():
        damage(path)
    assert find_checkpoint("last", logs, "ve").name == "step00009000.ckpt"
    damage(logs / "ve" / OLD / "checkpoints" / "step00009000.ckpt")
    assert "no intact checkpoint" in one_line("last", logs, "ve")


def test_find_by_file_and_by_folder(logs: Path) -> None:
    file = logs / "ve" / NEW / "checkpoints" / "step00001500.ckpt"
    assert find_checkpoint(file, logs) == file
    assert find_checkpoint(str(file), logs) == file
    assert find_checkpoint(logs / "ve" / OLD, logs).name == "step00009000.ckpt"
    assert find_checkpoint(logs / "ve" / OLD / "checkpoints", logs).name == "step00009000.ckpt"
    assert find_checkpoint(str(logs / "ve"), logs).name == "last.ckpt"


@pytest.mark.parametrize(("spec", "file"), [(1500, "step00001500.ckpt"), ("2500", "step00002500.ckpt")])
def test_find_by_step(logs: Path, spec: str | int, file: str) -> None:
    assert find_checkpoint(spec, logs, "ve").name == file


def test_the_step_is_read_from_the_file(logs: Path) -> None:
    assert find_checkpoint(3000, logs, "ve").name == "last.ckpt"


def test_an_intact_copy_of_a_step_is_preferred(logs: Path) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    save(folder / "step00003000.ckpt", 3000)
    damage(folder / "last.ckpt")
    assert find_checkpoint(3000, logs, "ve").name == "step00003000.ckpt"


def test_find_best(logs: Path) -> None:
    assert find_checkpoint("best", logs, "ve").name == "best_fid.ckpt"
    save(logs / "ve" / NEW / "checkpoints" / "best_loss.ckpt", 1800)
    assert find_checkpoint("best_loss", logs, "ve").name == "best_loss.ckpt"
    assert "choose one of best_fid, best_loss" in one_line("best", logs, "ve")
    assert "keeps no best checkpoint" in one_line("best", logs, "vp")


def test_errors_list_the_existing_checkpoints(logs: Path) -> None:
    assert "there are 1500, 2000, 2500, 3000" in one_line(7, logs, "ve")
    message = one_line("last", logs, "vee")
    assert str(logs / "ve" / NEW) in message
    assert str(logs / "vp" / OLD) in message
    assert "neither a file nor a folder" in one_line("lats", logs, "ve")
    assert "there are no runs" in one_line("last", logs / "nowhere")


def test_sweep_jobs_are_sorted_by_number(tmp_path: Path) -> None:
    sweep = tmp_path / "ve" / "multirun" / NEW
    for job in (9, 10):
        save(sweep / str(job) / "checkpoints" / "last.ckpt", 5)
    save(tmp_path / "ve" / OLD / "checkpoints" / "last.ckpt", 6)
    assert find_checkpoint("last", tmp_path, "ve").parts[-3] == "10"
