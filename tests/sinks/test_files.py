"""Files of samples: reading returns what was written, for any order, batches and interruptions."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.io.npz import map_member
from src.sinks.files import NpzFiles, PictureFiles, SampleFiles

SHAPE = (3, 5, 4)
IMAGES = torch.arange(20 * 60, dtype=torch.int64).reshape(20, *SHAPE).remainder(256).to(torch.uint8)


def png(folder: Path) -> SampleFiles:
    return PictureFiles(folder, SHAPE)


def npz(folder: Path) -> SampleFiles:
    return NpzFiles(folder, "samples", SHAPE, "uint8")


@pytest.mark.parametrize("make", [png, npz])
def test_write_and_read(make, tmp_path: Path) -> None:
    files = make(tmp_path)
    assert files.present() == set()
    for part in (torch.arange(0, 20, 2), torch.arange(1, 15, 2)):
        files.write(part, IMAGES[part])
    wanted = [3, 0, 14, 7]
    assert files.present() == {*range(0, 20, 2), *range(1, 15, 2)}
    assert torch.equal(files.read(wanted), IMAGES[wanted])
    files.finish()
    assert make(tmp_path).present() == {*range(0, 20, 2), *range(1, 15, 2)}
    assert torch.equal(make(tmp_path).read(wanted), IMAGES[wanted])


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    files = PictureFiles(tmp_path, (1, 8, 8))
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    files.write(torch.tensor([1234567]), image)
    assert (tmp_path / "1234567.png").exists()
    assert torch.equal(files.read([1234567]), image)


def test_the_joined_file_has_the_usual_layout_and_can_grow(tmp_path: Path) -> None:
    files = npz(tmp_path)
    files.write(torch.tensor([4, 1]), IMAGES[[4, 1]])
    files.finish()
    files.write(torch.tensor([0, 3]), IMAGES[[0, 3]])
    files.write(torch.tensor([2]), IMAGES[[2]])
    files.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]
    with np.load(tmp_path / "samples.npz") as archive:
        assert archive["index"].tolist() == [0, 1, 2, 3, 4]
        assert archive["samples"].shape == (5, 5, 4, 3)
        assert np.array_equal(archive["samples"], IMAGES[:5].movedim(1, -1).numpy())


def test_a_join_killed_before_cleanup_is_repeated(tmp_path: Path) -> None:
    files = npz(tmp_path)
    files.write(torch.tensor([0, 1]), IMAGES[:2])
    kept = (tmp_path / "samples_000000-000001.npz").read_bytes()
    files.finish()
    (tmp_path / "samples_000000-000001.npz").write_bytes(kept)
    files.finish()
    assert torch.equal(files.read([0, 1]), IMAGES[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]


def test_joining_uses_little_memory(tmp_path: Path) -> None:
    files = NpzFiles(tmp_path, "raw", (1, 256, 256), "float32")
    for first in range(0, 64, 4):
        files.write(torch.arange(first, first + 4), torch.full((4, 1, 256, 256), float(first)))
    tracemalloc.start()
    files.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6, "16 MB of samples must not pass through memory at once"
    assert files.read([63]).unique().tolist() == [60.0]


def test_vectors_keep_their_layout(tmp_path: Path) -> None:
    files = NpzFiles(tmp_path, "samples", (2,), "float32")
    points = torch.randn(3, 2)
    files.write(torch.arange(3), points)
    files.finish()
    assert torch.equal(files.read([2, 0]), points[[2, 0]])
    assert np.array_equal(np.load(tmp_path / "samples.npz")["samples"], points.numpy())


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(UserError, match="No space left on device"):
        png(tmp_path).write(torch.tensor([0]), IMAGES[:1])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_not_counted(tmp_path: Path) -> None:
    files = png(tmp_path)
    files.write(torch.arange(2), IMAGES[:2])
    (tmp_path / "000001.png").write_bytes(b"")
    assert files.present() == {0}


@pytest.mark.parametrize("length", [0, 10, 200])
def test_damaged_files_are_refused(length: int, tmp_path: Path) -> None:
    npz(tmp_path).write(torch.arange(2), IMAGES[:2])
    path = tmp_path / "samples_000000-000001.npz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="is damaged"):
        map_member(path, "samples")


def test_the_size_estimate_is_not_too_small(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (8, *SHAPE), dtype=torch.uint8)
    for make in (png, npz):
        folder = tmp_path / make.__name__
        make(folder).write(torch.arange(8), noise)
        blocks = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
        assert make(folder).bytes_for(8) + 4096 * 3 >= blocks


def test_file_names_of_several_writers_are_unique(tmp_path: Path) -> None:
    files = npz(tmp_path)
    shards: list[Tensor] = [torch.arange(rank, 20, 3) for rank in range(3)]
    for shard in shards:
        for part in shard.split(2):
            files.write(part, IMAGES[part])
    written = list(tmp_path.iterdir())
    assert len(written) == len(list(itertools.chain(*(shard.split(2) for shard in shards))))
    assert files.present() == set(range(20))
