"""Decode CIFAR-10 once, with all cores, into the file for ``datamodule=npz``."""

from __future__ import annotations

import io
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.gpu_proof.setup import RecordRow, Setup
from bench.rows import row
from src.io.npz import write_npz

if TYPE_CHECKING:
    from src.datamodules import ImageDataModule

_SECTION = "Data"
_JPEG = {"train": "cifar10_train_jpeg.tar.xz", "test": "cifar10_test_jpeg.zip"}


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Convert the archives, or the digits, to one .npz file."""

    def unpack() -> None:
        start = time.perf_counter()
        arrays = _digits() if setup.small and not _archives(setup.data) else cifar10(setup.data)
        write_npz(setup.npz, arrays)
        seconds = time.perf_counter() - start
        count = sum(len(arrays[f"{split}_images"]) for split in ("train", "test"))
        record_row(row(_SECTION, "images decoded", float(count), "images"))
        record_row(row(_SECTION, "decoding, all cores", count / seconds, "images/s"))

    return unpack


def cifar10(folder: Path) -> dict[str, np.ndarray]:
    """Return images, labels and class names.

    Raises:
        FileNotFoundError: ``folder`` has no CIFAR-10.
    """
    check(folder)
    if not _archives(folder):
        return _original(folder)
    arrays: dict[str, np.ndarray] = {}
    for split, readers in {"train": _of_tar, "test": _of_zip}.items():
        named = sorted(readers(folder / _JPEG[split]))
        classes = sorted({name.split("/")[-2] for name, _ in named})
        arrays["class_names"] = np.array(classes)
        arrays[f"{split}_labels"] = np.array([classes.index(name.split("/")[-2]) for name, _ in named])
        arrays[f"{split}_images"] = _decoded([data for _, data in named])
    return arrays


def check(folder: Path) -> None:
    """Raise FileNotFoundError if ``folder`` has no CIFAR-10."""
    published = any((folder / name).exists() for name in ("cifar-10-batches-py", "cifar-10-python.tar.gz"))
    if not published and not _archives(folder):
        raise FileNotFoundError(
            f"{folder} holds neither {' and '.join(_JPEG.values())} nor cifar-10-python.tar.gz: give a folder that does"
        )


def _archives(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _JPEG.values())


def _of_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith("/"):
                yield name, archive.read(name)


def _decoded(files: list[bytes]) -> np.ndarray:
    """Return (N, 3, H, W) uint8, in the order of ``files``."""
    workers = os.cpu_count() or 1
    size = -(-len(files) // (4 * workers))
    parts = [files[first : first + size] for first in range(0, len(files), size)]
    with ProcessPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(_decode, parts)))


def _decode(files: list[bytes]) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).transpose(2, 0, 1) for file in files])


def _original(folder: Path) -> dict[str, np.ndarray]:
    """Return the published pixels, through the datamodule used for training; downloads nothing here."""
    from src.datamodules import CIFAR10DataModule

    return _of_datamodule(CIFAR10DataModule(data_dir=folder))


def _digits() -> dict[str, np.ndarray]:
    from src.datamodules import DigitsDataModule

    return _of_datamodule(DigitsDataModule())


def _of_datamodule(data: ImageDataModule) -> dict[str, np.ndarray]:
    arrays = {"class_names": np.array(data.class_names)}
    for split in ("train", "test"):
        images = data.images(split)
        assert images.labels is not None
        arrays |= {f"{split}_images": images[:].numpy(), f"{split}_labels": images.labels.numpy()}
    return arrays
