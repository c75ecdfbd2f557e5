"""Damaged and hostile data files give one line and take no memory."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.datamodules.image_folder import ImageFolderDataModule
from src.datamodules.reading import listing, open_source
from src.errors import UserError
from src.tasks.image_source import open_images


def picture(path: Path, value: int = 9) -> None:
    Image.new("RGB", (4, 4), (value,) * 3).save(path)


def refusal(path: Path, tmp_path: Path) -> str:
    """Return the message of training; evaluate.py must also refuse with one line."""
    lines = []
    module = ImageFolderDataModule(path=path, image_size=4, data_dir=tmp_path / "data", decode_workers=1)
    with pytest.raises(UserError) as refused:
        module.setup("fit")
    lines.append(str(refused.value))
    with pytest.raises(UserError) as refused:
        source = open_images(path)
        for _ in source.batches(range(len(source)), 8, 3):
            pass
    lines.append(str(refused.value))
    assert not any("\n" in line for line in lines)
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    picture(tmp_path / "set" / "a.png")
    return tmp_path / "set"


def test_pipes_and_broken_links_are_not_read(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "b.png")
    (folder / "c.png").symlink_to(folder / "nothing.png")
    (folder / "d.png").symlink_to(folder / "d.png")
    line = refusal(folder, tmp_path)
    assert "b.png (not a regular file)" in line and "c.png (a link to a missing file)" in line and "d.png" in line


def test_recursive_folders_are_read_once(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    assert len(open_source(folder)) == 1


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "nothing"])
def test_a_path_that_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    path = Path(name) if name.startswith("/") else tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    assert "give a folder" in refusal(path, tmp_path)


def test_a_sparse_terabyte_file_is_refused(folder: Path, tmp_path: Path) -> None:
    with (folder / "b.png").open("wb") as file:
        file.truncate(1 << 40)
    assert "b.png (1099.5 GB, more than the limit" in refusal(folder, tmp_path)


def test_zip_bombs_and_encrypted_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1 << 20))
    monkeypatch.setattr(listing, "MAX_FILE", 1 << 19)
    assert "a.png (1.0 MB, more than the limit" in refusal(path, tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refusal(path, tmp_path)


def npy(shape: tuple[int, ...], dtype: str = "<f4", content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def test_false_array_headers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy((10**9, 64, 64, 3)))
    assert "declares 49152.0 GB, the file has 0.0 kB" in refusal(tmp_path / "a.npy", tmp_path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", npy((10**9, 64, 64, 3)))
    assert "declares" in refusal(tmp_path / "a.npz", tmp_path)
    np.save(tmp_path / "b.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    assert "Python objects" in refusal(tmp_path / "b.npy", tmp_path)
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x01\x00\x0c\x00" + b"{'descr': (\n")  # without an end
    assert "cannot be read (a damaged header" in refusal(tmp_path / "d.npy", tmp_path)
    (tmp_path / "c.npy").write_bytes(b"no header")
    assert "cannot be read" in refusal(tmp_path / "c.npy", tmp_path)


def test_a_png_header_with_too_many_pixels_is_refused(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 300_000, 300_000)
    content[29:33] = struct.pack(">I", __import__("zlib").crc32(bytes(content[12:29])))
    (folder / "b.png").write_bytes(bytes(content))
    assert "b.png (" in (line := refusal(folder, tmp_path)) and "limit" in line


def test_nan_values_are_refused(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 4, 3), np.float32)
    images[1, 0, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", images)
    assert "1 of 3 images" in (line := refusal(tmp_path / "a.npy", tmp_path)) and "row 1 (NaN" in line


def test_cropping_gives_a_warning(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (16, 48), "white").save(folder / "a.png")
    ImageFolderDataModule(path=folder, image_size=16, data_dir=tmp_path / "data").setup("fit")
    assert "lose up to 67% of their area: set datamodule.image_size=[height,width]" in caplog.text
    caplog.clear()
    whole = ImageFolderDataModule(path=folder, image_size=[48, 16], data_dir=tmp_path / "data")
    whole.setup("fit")
    assert whole.images("all").shape == (1, 3, 48, 16) and "lose" not in caplog.text
