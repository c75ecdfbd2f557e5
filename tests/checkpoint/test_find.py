import logging
import os
import threading
from pathlib import Path

import pytest
import torch

from src.checkpoint import find as module
from src.checkpoint import find_checkpoint
from src.checkpoint.jobs import NothingToResume, note_job
from src.checkpoint.read import glance, load_archive, pin
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
    """Two runs of ve and one of vp; times of files and alphabetical order of names both mislead."""
    logs = tmp_path / "logs"
    save(logs / "ve" / NEW / "checkpoints" / "last.ckpt", 3000)
    save(logs / "ve" / NEW / "checkpoints" / "step00001500.ckpt", 1500)
    save(logs / "ve" / NEW / "checkpoints" / "step00002500.ckpt", 2500)
    save(logs / "ve" / NEW / "checkpoints" / "best_fid.ckpt", 2000)
    save(logs / "ve" / OLD / "checkpoints" / "step00009000.ckpt", 9000)
    save(logs / "vp" / OLD / "checkpoints" / "step00000100.ckpt", 100)
    # A run that is just starting.
    (logs / "ve" / "2025-10-02_00-00-00" / "checkpoints").mkdir(parents=True)
    os.utime(logs / "ve" / NEW / "checkpoints" / "last.ckpt", (1, 1))
    return logs


def one_line(spec: str | int | Path, logs: Path, name: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        find_checkpoint(spec, logs, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_last_is_the_newest_of_the_newest_run(logs: Path) -> None:
    newest = logs / "ve" / NEW / "checkpoints" / "last.ckpt"
    assert find_checkpoint("last", logs, "ve") == newest
    assert find_checkpoint("last", logs) == newest
    assert find_checkpoint("last", logs, "vp").name == "step00000100.ckpt"


def test_a_damaged_checkpoint_is_passed_over_with_a_line(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    damage(folder / "last.ckpt")
    (folder / "step00002500.ckpt").write_bytes((folder / "step00002500.ckpt").read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint("last", logs, "ve") == folder / "step00001500.ckpt"
    [record] = caplog.records
    assert all(name in record.getMessage() for name in ("last.ckpt", "step00002500.ckpt", "step00001500.ckpt"))


def test_the_best_is_gone_on_from_only_where_there_is_no_other(logs: Path) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    for other in ("last.ckpt", "step00002500.ckpt"):
        (folder / other).unlink()
    # It is newer, but was written while other things of its step were still to be done.
    assert find_checkpoint("last", logs, "ve") == folder / "step00001500.ckpt"
    (folder / "step00001500.ckpt").unlink()
    assert find_checkpoint("last", logs, "ve") == folder / "best_fid.ckpt"


def test_a_run_that_goes_on_may_remove_what_is_being_read(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_was_found_is_what_is_read_after_the_run_has_removed_it(logs: Path) -> None:
    found = find_checkpoint("last", logs, "ve")
    found.unlink()
    save(found, 4000)
    assert glance(found)["global_step"] == 3000
    found.unlink()
    assert load_archive(found)["global_step"] == 3000
    save(found, 5000)
    assert load_archive(found)["global_step"] == 5000


def test_last_beside_a_run_that_keeps_one_checkpoint(tmp_path: Path) -> None:
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


def test_names_of_older_versions(tmp_path: Path) -> None:
    folder = tmp_path / "ve" / NEW / "checkpoints"
    for step in (5, 10):
        save(folder / f"step={step:08d}.ckpt", step)
    save(folder / "step00000007.ckpt", 7)
    assert find_checkpoint("last", tmp_path, "ve").name == "step=00000010.ckpt"
    assert find_checkpoint(5, tmp_path, "ve").name == "step=00000005.ckpt"
    assert find_checkpoint(7, tmp_path, "ve").name == "step00000007.ckpt"


def test_a_job_that_is_started_again_goes_on_from_its_own_run(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = logs / "ve" / OLD
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert find_checkpoint("last", logs, "ve").parents[1].name == NEW
    note_job(older)
    assert find_checkpoint("last", logs, "ve").parents[1] == older
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert find_checkpoint("last", logs, "ve").parents[1].name == NEW
    # Started before, stopped before its first checkpoint: the run of another job is not its own.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(NothingToResume):
        find_checkpoint("last", logs, "ve")
    # Jobs of an array have ids of their own, which change with each start.
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    note_job(older)
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert find_checkpoint("last", logs, "ve").parents[1] == older


def test_a_link_that_leads_nowhere_is_damaged(logs: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    (folder / "step00004000.ckpt").symlink_to(folder / "gone")
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint("last", logs, "ve") == folder / "last.ckpt"
    assert "step00004000.ckpt" in caplog.text


def test_an_older_run_helps_out(logs: Path) -> None:
    for path in (logs / "ve" / NEW / "checkpoints").iterdir():
        damage(path)
    assert find_checkpoint("last", logs, "ve").name == "step00009000.ckpt"
    damage(logs / "ve" / OLD / "checkpoints" / "step00009000.ckpt")
    assert "no intact checkpoint" in one_line("last", logs, "ve")


def test_files_and_folders(logs: Path) -> None:
    file = logs / "ve" / NEW / "checkpoints" / "step00001500.ckpt"
    assert find_checkpoint(file, logs) == file
    assert find_checkpoint(str(file), logs) == file
    assert find_checkpoint(logs / "ve" / OLD, logs).name == "step00009000.ckpt"
    assert find_checkpoint(logs / "ve" / OLD / "checkpoints", logs).name == "step00009000.ckpt"
    assert find_checkpoint(str(logs / "ve"), logs).name == "last.ckpt"


@pytest.mark.parametrize(("spec", "file"), [(1500, "step00001500.ckpt"), ("2500", "step00002500.ckpt")])
def test_a_step_of_the_newest_run(logs: Path, spec: str | int, file: str) -> None:
    assert find_checkpoint(spec, logs, "ve").name == file


def test_the_step_is_the_one_in_the_file(logs: Path) -> None:
    assert find_checkpoint(3000, logs, "ve").name == "last.ckpt"


def test_an_intact_copy_of_a_step_is_preferred(logs: Path) -> None:
    folder = logs / "ve" / NEW / "checkpoints"
    save(folder / "step00003000.ckpt", 3000)
    damage(folder / "last.ckpt")
    assert find_checkpoint(3000, logs, "ve").name == "step00003000.ckpt"


def test_best(logs: Path) -> None:
    assert find_checkpoint("best", logs, "ve").name == "best_fid.ckpt"
    save(logs / "ve" / NEW / "checkpoints" / "best_loss.ckpt", 1800)
    assert find_checkpoint("best_loss", logs, "ve").name == "best_loss.ckpt"
    assert "choose one of best_fid, best_loss" in one_line("best", logs, "ve")
    assert "keeps no best checkpoint" in one_line("best", logs, "vp")


def test_errors_list_what_there_is(logs: Path) -> None:
    assert "there are 1500, 2000, 2500, 3000" in one_line(7, logs, "ve")
    message = one_line("last", logs, "vee")
    assert str(logs / "ve" / NEW) in message
    assert str(logs / "vp" / OLD) in message
    assert "neither a file nor a folder" in one_line("lats", logs, "ve")
    assert "there are no runs" in one_line("last", logs / "nowhere")


def test_jobs_of_a_sweep_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sweep = tmp_path / "ve" / "multirun" / NEW
    for job in (9, 10):
        save(sweep / str(job) / "checkpoints" / "last.ckpt", 5)
    save(tmp_path / "ve" / OLD / "checkpoints" / "last.ckpt", 6)
    assert find_checkpoint("last", tmp_path, "ve").parts[-3] == "10"
