"""evaluate.py and training decode every kind of image to the same values."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.image_folder import ImageFolderDataModule
from src.datamodules.reading import open_source
from src.pictures import png_bytes, tiff_bytes
from src.tasks.image_source import open_images
from src.tasks.sample.given import open_given

RNG = np.random.default_rng(0)
COUNT, SIDE = 6, 8


def pixels(channels: int, high: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, high + 1, (COUNT, channels, SIDE, SIDE)).astype(dtype)


def pictures(mode: str) -> list[Image.Image]:
    made = []
    for image in pixels(4, 255):
        rgba = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        made.append(rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode))
    return made


def write(kind: str, folder: Path) -> int:
    """Write files of a kind; return the number of channels to read them with."""
    folder.mkdir()
    if kind in ("RGB", "L", "1", "P", "RGBA", "LA"):
        for i, picture in enumerate(pictures(kind)):
            picture.save(folder / f"{i}.png")
        return 1 if kind in ("L", "1") else 3
    if kind in ("CMYK", "oriented"):
        for i, picture in enumerate(pictures("CMYK" if kind == "CMYK" else "RGB")):
            exif = Image.Exif()
            exif[0x0112] = i + 1 if kind == "oriented" else 1
            picture.save(folder / f"{i}.jpg", exif=exif)
        return 3
    if kind.startswith("png16"):
        channels = int(kind[-1])
        high = 4095 if "12" in kind else 65535
        for i, image in enumerate(pixels(channels, high, np.uint16)):
            (folder / f"{i}.png").write_bytes(png_bytes(image))
        return channels
    if kind == "tiff32f":
        for i, image in enumerate(pixels(1, 1000, np.float32)):
            (folder / f"{i}.tif").write_bytes(tiff_bytes(image / 7 - 20))
        return 1
    if kind == "tiff16rgb":
        for i, image in enumerate(pixels(3, 65535, np.uint16)):
            (folder / f"{i}.tif").write_bytes(tiff_bytes(image))
        return 3
    assert kind == "stack"
    first, *rest = [Image.fromarray(image[0]) for image in pixels(1, 1023, np.uint16)]
    first.save(folder / "stack.tif", save_all=True, append_images=rest)
    return 1


KINDS = [
    *("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "oriented"),
    *("png16-1", "png16-12-1", "png16-2", "png16-3", "png16-4", "tiff32f", "tiff16rgb", "stack"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation_decode_the_same_values(kind: str, tmp_path: Path) -> None:
    channels = write(kind, tmp_path / "set")
    module = ImageFolderDataModule(
        path=tmp_path / "set", image_size=SIDE, channels=channels, data_dir=tmp_path / "data", decode_workers=1
    )
    module.setup("fit")
    reference = torch.cat(list(module.reference_batches(4)))
    source = open_images(tmp_path / "set")
    values = source.values(module.values)
    scored = torch.cat([values.to_bytes(x) for _, x in source.batches(range(len(source)), 4, channels)])
    assert len(scored) == COUNT and torch.equal(scored, reference)
    # The full value range is used.
    assert values.levels is None or scored.max() > 200
    node = {"channels": channels, "image_size": SIDE, **module.values.as_node()}
    given = open_given(str(tmp_path / "set"), node, module.shape, "centered")
    stored = module.images("all")[:]
    assert torch.equal(given(torch.arange(COUNT)), module.values.to_model(stored, "centered"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_arrays_keep_every_value(channels: int, dtype: type, tmp_path: Path) -> None:
    stored = (RNG.random((COUNT, SIDE, SIDE + 4, channels)) * 60000).astype(dtype)
    np.save(tmp_path / "set.npy", stored)
    np.savez_compressed(tmp_path / "set.npz", images=stored, labels=np.arange(COUNT) % 2)
    expected = torch.from_numpy(stored.transpose(0, 3, 1, 2).astype(np.float64))
    for name in ("set.npy", "set.npz"):
        module = ImageFolderDataModule(
            path=tmp_path / name, image_size=[SIDE, SIDE + 4], channels=channels, data_dir=tmp_path / "data"
        )
        module.setup("fit")
        assert torch.equal(module.images("all")[:].double(), expected)
        assert module.class_names == (["0", "1"] if name == "set.npz" else [])
        source = open_images(tmp_path / name)
        assert torch.equal(next(source.batches(range(COUNT), COUNT, channels))[1].double(), expected)


def test_arrays_with_splits_and_names(tmp_path: Path) -> None:
    images = pixels(1, 255)[:, 0]
    arrays = {
        "x_train": images,
        "y_train": np.array(list("babbab")),
        "x_test": images[:2],
        "y_test": np.array(["a", "b"]),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    source = open_source(tmp_path / "set.npz")
    assert source.splits["train"].tolist() == list(range(6)) and source.splits["test"].tolist() == [6, 7]
    assert source.class_names == ["a", "b"] and source.labels.tolist() == [1, 0, 1, 1, 0, 1, 0, 1]


def test_every_page_of_a_stack_in_a_zip_is_read(tmp_path: Path) -> None:
    write("stack", tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(tmp_path / "set" / "stack.tif", "a/stack.tif")
    assert len(open_images(tmp_path / "set.zip")) == len(open_images(tmp_path / "set" / "stack.tif")) == COUNT


def test_values_outside_value_range_are_refused_and_not_clipped(tmp_path: Path) -> None:
    from src.errors import UserError

    np.save(tmp_path / "set.npy", pixels(1, 3000, np.uint16)[:, 0])
    settings = {"path": tmp_path / "set.npy", "image_size": SIDE, "channels": 1, "data_dir": tmp_path / "data"}
    assert ImageFolderDataModule(**settings).values.high == 4095
    assert ImageFolderDataModule(**settings, value_range=[0, 9999]).values.levels == 10000
    with pytest.raises(UserError, match=r"outside datamodule\.value_range=\[0, 1000\].*never clipped"):
        ImageFolderDataModule(**settings, value_range=[0, 1000]).setup("fit")
