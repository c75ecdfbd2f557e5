"""Each run gets its own folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.cli import run_dir
from src.cli.run_dir import _claim, remove_unused


def test_runs_started_in_the_same_second_get_different_folders(tmp_path: Path) -> None:
    same = tmp_path / "digits" / "2026-01-01_00-00-00"
    with ThreadPoolExecutor(8) as starts:
        folders = set(starts.map(lambda _: _claim(same), range(8)))
    assert len(folders) == 8
    assert {folder.name for folder in folders} == {same.name, *(f"{same.name}-{i}" for i in range(2, 9))}


def test_runs_refused_at_the_same_time_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for _ in range(2):
        monkeypatch.setattr(run_dir, "_made", [])
        _claim(tmp_path / "name" / "2026-01-01_00-00-00")
        made.append(run_dir._made)
    for folders in made:
        monkeypatch.setattr(run_dir, "_made", folders)
        remove_unused()
    assert not list(tmp_path.iterdir())
