"""Arrays of npy and npz files; rows of uncompressed arrays are memory-mapped."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError, format_bytes
from ...io.headers import Header, opened, read_header
from .arrays import ArraySource
from .labels import SPLIT_NAMES

_IMAGES = ("samples", "arr_0", "images", "image", "x", "data", "features")
_LABELS = ("labels", "label", "y", "targets", "target", "arr_1")


def open_npy(path: Path, layout: str | None = None) -> ArraySource:
    """Map the rows of a npy file; raise UserError if it is damaged."""
    return ArraySource(path, [map_npy(path)], files=[path], layout=layout)


def map_npy(path: Path) -> np.ndarray:
    """Return the array of a npy file, memory-mapped; raise UserError if it is damaged."""
    try:
        with path.open("rb") as file:
            header = read_header(file, path.stat().st_size)
        if not header.shape:
            raise ValueError("it contains one number")
        if header.nbytes == 0:
            return np.empty(header.shape, header.dtype)
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): write it again") from error


def open_npys(path: Path, files: Sequence[Path], layout: str | None = None) -> ArraySource:
    """Read several npy files of a folder as one set; files called ``train`` or ``test`` are splits."""
    splits = [SPLIT_NAMES.get(file.stem.lower(), "") for file in files]
    return ArraySource(path, list(map(map_npy, files)), splits=splits, files=files, layout=layout)


def open_npz(path: Path, files: Sequence[Path], layout: str | None = None) -> ArraySource:
    """Read the rows of one npz file, or of several as one set.

    Arrays are found by their names: ``samples``, ``images``, ``x``, ... with ``labels``, ``y``, ..., or with a split,
    such as ``train_images`` and ``x_test``.

    Raises:
        UserError: a file is damaged or contains no such array.
    """
    arrays, labels, splits, names = [], [], [], []
    for file in files:
        with opened(file) as headers:
            parts = parts_of(tuple(headers))
            if not parts:
                raise UserError(
                    f"{file} contains {', '.join(sorted(headers)) or 'nothing'}: images are expected as samples, "
                    "images or arr_0"
                )
            for split, key, label in parts:
                arrays.append(_of_npz(file, key, headers))
                labels.append(None if label is None else _of_npz(file, label, headers))
                splits.append(split)
            if "class_names" in headers:
                names = [str(name) for name in _of_npz(file, "class_names", headers).tolist()]
    known = [label for label in labels if label is not None]
    joined = np.concatenate([np.asarray(label) for label in known]) if len(known) == len(labels) else None
    return ArraySource(path, arrays, joined, splits, files, layout, names)


def parts_of(keys: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """Return split, images and labels of every part of a file, by the names ``keys`` of its arrays."""
    found: list[tuple[str, str, str | None]] = []
    for word, split in SPLIT_NAMES.items():
        images = _first(keys, [f"{word}_{name}" for name in _IMAGES] + [f"{name}_{word}" for name in _IMAGES])
        labels = _first(keys, [f"{word}_{name}" for name in _LABELS] + [f"{name}_{word}" for name in _LABELS])
        if images is not None:
            found.append((split, images, labels))
    if found:
        return found
    images = _first(keys, _IMAGES)
    return [] if images is None else [("", images, _first(keys, [name for name in _LABELS if name != images]))]


def _first(keys: Sequence[str], wanted: Sequence[str]) -> str | None:
    lower = {key.lower(): key for key in keys}
    return next((lower[name] for name in wanted if name in lower), None)


def _of_npz(path: Path, key: str, headers: Mapping[str, Header]) -> np.ndarray:
    """Return an array of an npz file: memory-map_npy, or read if it is compressed and fits into memory."""
    header = headers[key]
    nbytes = header.nbytes
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        info = archive.getinfo(f"{key}.npy")
        if info.compress_type == zipfile.ZIP_STORED and not header.fortran and nbytes:
            # The local header repeats the name, and its extra field has its own length.
            file.seek(info.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), dtype="<u2").tolist()
            start = info.header_offset + 30 + name_length + extra_length
            rows: np.ndarray = np.memmap(path, header.dtype, "r", start + header.start, header.shape)
            return rows
    free = _memory()
    if nbytes > free // 2:
        raise UserError(
            f"{key} in {path} takes {format_bytes(nbytes)} unpacked and the memory has {format_bytes(free)}: save "
            "it uncompressed with np.savez, or as npy"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            array: np.ndarray = file[key]
            return array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.error) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): write it again") from error


def _memory() -> int:
    """Bytes of memory of this machine that are free or can be freed."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + (1 << 30)
    except (ValueError, OSError, AttributeError):
        return 1 << 32
