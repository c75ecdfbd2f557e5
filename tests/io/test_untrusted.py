"""Paths are checked before they are opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.errors import UserError
from src.io.untrusted import check_readable, read_bytes, read_json, unpack_refusal, unreadable_reason


def test_paths_that_are_not_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nothing").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    reasons = {
        name: unreadable_reason(tmp_path / name) for name in ("pipe", "nothing", "loop", ".", "absent", "a" * 300)
    }
    assert reasons["pipe"] == "is a pipe, not a file" and reasons["."] == "is a folder, not a file"
    assert reasons["nothing"] == "is a link to a missing file" and reasons["loop"] == "is a link to itself"
    assert reasons["absent"] == "does not exist" and "File name too long" in str(reasons["a" * 300])
    assert unreadable_reason("/dev/zero") == "is a device, not a file" and unreadable_reason(__file__) is None


def test_large_files_are_refused_before_reading(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    check_readable(tmp_path / "a", "shorten it")
    with pytest.raises(UserError, match=r"a has 1099\.5 GB, more than the limit of .*: shorten it"):
        read_bytes(tmp_path / "a", "shorten it", 1 << 30)
    with pytest.raises(ValueError, match="more than the limit"):
        read_json(tmp_path / "a")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", b"\xff\xfe", "9" * 5000])
def test_invalid_json_is_refused(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"not JSON|too deeply"):
        read_json(tmp_path / "a")


def test_compression_ratios_of_bombs() -> None:
    assert unpack_refusal(1 << 30, 1 << 20) and not unpack_refusal(1 << 30, 1 << 28) and not unpack_refusal(1 << 20, 1)
