"""The score record contains complete lines only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.callbacks.monitors.fid import _append
from src.errors import UserError


def test_a_truncated_line_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.jsonl"
    _append(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "fi')
    _append(path, {"step": 2})
    _append(path, {"step": 3})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_an_unwritable_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        _append(tmp_path / "file" / "scores.jsonl", {})
