"""A folder of samples resumes, and refuses samples made with other settings."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.sampling.statistics import Statistics
from src.sinks.store import SampleStore
from tests.sinks.batches import batch

SETTINGS = {"checkpoint": "abc", "sampler": {"grid": {"steps": 10}, "order": "first"}, "seed": 0}


def store(folder: Path, count: int = 6, settings: dict[str, Any] = SETTINGS, **options: Any) -> SampleStore:
    return SampleStore(folder, settings, count, (1, 4, 4), **options)


def fill(opened: SampleStore, indices: list[int]) -> None:
    index = torch.tensor(indices)
    opened.add(batch(index, index[:, None, None, None].expand(-1, 1, 4, 4).to(torch.uint8)))


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_prepare_returns_missing_indices_until_complete(tmp_path: Path) -> None:
    first = store(tmp_path)
    assert first.prepare() == [0, 1, 2, 3, 4, 5]
    assert manifest(tmp_path)["status"] == "running"
    fill(first, [0, 3, 4])
    (tmp_path / "images" / ".000005.png.123.tmp").write_bytes(b"half")

    second = store(tmp_path)
    assert second.prepare() == [1, 2, 5]
    assert not list(tmp_path.rglob("*.tmp"))
    fill(second, [1, 2])
    second.finish(Statistics(3, [5], evaluations=60, least=20, most=20, seconds=1.5))
    assert manifest(tmp_path)["status"] == "complete"

    third = store(tmp_path)
    assert third.prepare() == [], "diverged samples must not be made again"
    assert third.valid_indices() == [0, 1, 2, 3, 4]
    assert manifest(tmp_path)["nfe"]["mean"] == 20.0
    assert torch.equal(third.read([4, 2])[:, 0, 0, 0], torch.tensor([4, 2], dtype=torch.uint8))


def test_the_manifest_changes_only_when_samples_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store(tmp_path, 2, about={"ckpt_path": "a.ckpt"})
    first.prepare()
    fill(first, [0, 1])
    first.finish(Statistics())
    made = manifest(tmp_path)
    monkeypatch.setattr("src.sinks.store.numerical_versions", lambda: {"torch": "9.9"})
    again = store(tmp_path, 2, about={"ckpt_path": "copy.ckpt"})
    assert again.prepare() == [] and manifest(tmp_path) == made
    more = store(tmp_path, 3, about={"ckpt_path": "copy.ckpt"})
    assert more.prepare() == [2]
    assert manifest(tmp_path)["versions"] == {"torch": "9.9"}
    assert manifest(tmp_path)["about"] == {"ckpt_path": "copy.ckpt"}


def test_fewer_samples_are_a_part_of_the_folder(tmp_path: Path) -> None:
    first = store(tmp_path, 2)
    first.prepare()
    fill(first, [0, 1])
    first.finish(Statistics())
    more = store(tmp_path, 4)
    assert more.prepare() == [2, 3]
    fill(more, [2])
    more.finish(Statistics(invalid=[3]))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    fewer = store(tmp_path, 3)
    assert fewer.prepare() == [] and fewer.is_part
    fewer.finish(Statistics())
    assert fewer.valid_indices() == [0, 1, 2] and not fewer.invalid
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_fewer_samples_of_an_interrupted_folder_keep_its_total(tmp_path: Path) -> None:
    store(tmp_path, 6).prepare()
    fewer = store(tmp_path, 2)
    assert fewer.prepare() == [0, 1]
    fill(fewer, [0, 1])
    fewer.finish(Statistics())
    assert manifest(tmp_path)["status"] == "running" and manifest(tmp_path)["num_samples"] == 6
    assert store(tmp_path, 6).prepare() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 in the folder and 1 now"),
        ({"sampler": {"grid": {"steps": 20}, "order": "last"}}, "sampler.grid.steps is 10 in the folder and 20 now"),
        ({"checkpoint": "abd", "seed": 1}, 'checkpoint is "abc" in the folder and "abd" now'),
        ({"labels": [1]}, r'labels is "absent" in the folder and \[1\] now'),
    ],
)
def test_other_settings_are_refused_by_the_first_difference(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    store(tmp_path).prepare()
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(UserError, match=message):
        store(tmp_path, settings={**SETTINGS, **change}).prepare()
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_another_format_is_refused(tmp_path: Path) -> None:
    store(tmp_path).prepare()
    with pytest.raises(UserError, match='format is "png" in the folder and "npz" now'):
        store(tmp_path, file_format="npz").prepare()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(UserError, match=r"contains files but no manifest\.json"):
        store(tmp_path).prepare()


@pytest.mark.parametrize("text", ["{", "[]", '{"manifest_version": 3, "name": "Extension"}', '{"settings": {}}'])
def test_the_manifest_of_another_program_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"contains files but no manifest\.json of this program: choose another"):
        store(tmp_path).prepare()
    assert (tmp_path / "manifest.json").read_text() == text


def test_a_full_disk_is_reported_before_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 20_000))
    with pytest.raises(UserError, match=r"20\.0 kB free"):
        store(tmp_path / "new").prepare()
    assert not (tmp_path / "new").exists()
    assert store(tmp_path / "new", 2).prepare() == [0, 1]


def test_an_image_without_raw_values_is_made_again(tmp_path: Path) -> None:
    opened = store(tmp_path, 2, raw=True)
    opened.prepare()
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    opened.add(batch(torch.tensor([0]), image, torch.full((1, 1, 4, 4), -0.25)))
    store(tmp_path, 2).add(batch(torch.tensor([1]), image))
    assert store(tmp_path, 2, raw=True).prepare() == [1]


@pytest.mark.parametrize(
    ("options", "message"), [({"count": 0}, "num_samples=0"), ({"file_format": "jpg"}, "format=jpg")]
)
def test_invalid_settings_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        store(tmp_path, **options)


def test_a_folder_of_an_earlier_version_is_resumed_in_place(tmp_path: Path) -> None:
    sampler = {"_target_": "src.sampling.pc.PredictorCorrector", "order": "corrector_first"}
    old = store(tmp_path / "last-seed0-1234", 2, {"sampler": sampler, "seed": 0})
    old.prepare()
    fill(old, [0])
    present = {
        "sampler": {"_target_": "src.sampling.solvers.pc.PredictorCorrector", "corrector_first": True},
        "seed": 0,
        "float32_matmul_precision": "highest",
    }
    found = store(tmp_path / "last-seed0-5678", 2, present).find_continuation("last-seed0-*")
    assert found.folder == old.folder and found.prepare() == [1]
    other = store(tmp_path / "last-seed0-5678", 2, {**present, "seed": 1}).find_continuation("last-seed0-*")
    assert other.folder.name == "last-seed0-5678"
    with pytest.raises(UserError, match="corrector_first is true in the folder and false now"):
        changed = {**present, "sampler": {**present["sampler"], "corrector_first": False}}
        store(old.folder, 2, changed).prepare()
