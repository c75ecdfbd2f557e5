import json
import logging
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only

from src.checkpoint import RunLock
from src.errors import UserError


def holder(run_dir: Path) -> int:
    """Start a process that holds the lock until it is killed."""
    pid = os.fork()
    if pid == 0:
        with RunLock(run_dir):
            time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 30
    while not (run_dir / ".lock.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return pid


def test_a_second_process_is_refused_and_told_the_owner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_dir = tmp_path / "run"
    pid = holder(run_dir)
    try:
        with pytest.raises(UserError, match=f"in use by process {pid} on {socket.gethostname()}") as caught:
            RunLock(run_dir).__enter__()
        assert "\n" not in str(caught.value)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # The lock of a dead process is taken over.
    with caplog.at_level(logging.WARNING), RunLock(run_dir):
        assert json.loads((run_dir / ".lock.json").read_text())["pid"] == os.getpid()
    assert f"was locked by process {pid}" in caplog.text


def test_a_finished_run_removes_its_lock_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="training failed"), RunLock(tmp_path):
        raise RuntimeError("training failed")
    assert not (tmp_path / ".lock.json").exists()
    with caplog.at_level(logging.WARNING), RunLock(tmp_path):
        pass
    assert not caplog.records


def test_a_new_empty_run_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(UserError), RunLock(tmp_path / "a"):
        raise UserError("refused")
    assert not (tmp_path / "a").exists()
    with RunLock(tmp_path / "a"):
        (tmp_path / "a" / "result").touch()
    assert (tmp_path / "a" / "result").exists()


def test_a_child_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.__enter__()
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        lock.__exit__(None, None, None)
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_only_rank_zero_takes_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLock(tmp_path):
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        with RunLock(tmp_path):
            pass
        assert (tmp_path / ".lock.json").exists()


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be locked"):
        RunLock(tmp_path / "file" / "run").__enter__()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"run is a file, not a folder"), RunLock(tmp_path / "run"):
        pass
