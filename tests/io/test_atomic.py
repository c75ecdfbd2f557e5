"""Atomic writes: readers see the old or the complete new content; operating system errors give one line."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from src.errors import UserError
from src.io.atomic import remove_leftovers, replacing, write_bytes, write_json, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_and_its_parent_folders_are_created(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"x": [1, None]})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"x": [1, None]}
    write_text(tmp_path / "new" / "a.json", "ä")
    assert (tmp_path / "new" / "a.json").read_bytes() == "ä".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_a_folder_appears_when_complete(tmp_path: Path) -> None:
    with replacing(tmp_path / "set") as temporary:
        (temporary / "inside").mkdir(parents=True)
        (temporary / "inside" / "a").write_text("1")
        assert not (tmp_path / "set").exists()
    assert (tmp_path / "set" / "inside" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("kind", [ValueError, UserError, KeyboardInterrupt])
def test_an_exception_keeps_the_old_file_and_is_raised(tmp_path: Path, kind: type[BaseException]) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(kind, match="mine"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise kind("mine")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_an_os_error_names_the_file_the_reason_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_text(tmp_path / "a", "old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    line = f"{tmp_path}/a cannot be written ({os.strerror(number)}): choose another folder"
    with pytest.raises(UserError, match=re.escape(line)):
        write_bytes(tmp_path / "a", b"new", "choose another folder")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_os_error_in_a_folder_names_the_folder(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        folder.mkdir()
        write_text(folder / "a", "")
        write_text(folder / "a" / "b", "")

    for name, beside in [("hub", ""), ("other/a/b", tmp_path / "other")]:
        with pytest.raises(UserError) as caught, replacing(tmp_path / "hub") as temporary:
            write(Path(beside) if beside else temporary)
        # The user does not know the temporary folder; a file elsewhere keeps its name.
        assert str(caught.value).startswith(f"{tmp_path / name}"), caught.value
        assert "cannot be written (" in str(caught.value)


def test_an_os_error_hidden_by_a_library_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left on device"), replacing(tmp_path / "a"):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            raise RuntimeError("unexpected position") from None
    with pytest.raises(RuntimeError, match="not an OS error"), replacing(tmp_path / "a"):
        try:
            raise FileNotFoundError(errno.ENOENT, "something else")
        except OSError as error:
            raise RuntimeError("not an OS error") from error


def test_the_file_and_then_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append("folder" if path.is_dir() else path.name)
        real(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("file names of descriptors are read from /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "1")
    assert flushed == [f".a.{os.getpid()}.tmp", "folder"]


def test_a_kill_keeps_the_old_file_and_temporary_files_are_removed(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    pid = os.fork()
    if pid == 0:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            time.sleep(60)
    while not (tmp_path / f".a.{pid}.tmp").exists():
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (tmp_path / "a").read_bytes() == b"old"
    remove_leftovers(tmp_path, "b")
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_only_atomic_py_renames_files() -> None:
    renames = re.compile(r"os\.(replace|rename)\(|\.rename\(|NamedTemporaryFile|\.(tmp|part|partial)\"|_name\(f\"\.")
    files = (ROOT / "src").rglob("*.py")
    found = {path.relative_to(ROOT).as_posix() for path in files if renames.search(path.read_text())}
    assert found == {"src/io/atomic.py"}
