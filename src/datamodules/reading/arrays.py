"""Arrays of npy and npz files; rows of uncompressed arrays are memory-mapped."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError, bytes_in_words
from ...io.headers import Header, as_stored, opened, read_header
from .labels import SPLIT_NAMES, in_order
from .source import Row, Source, digest

_IMAGES = ("samples", "arr_0", "images", "image", "x", "data", "features")
_LABELS = ("labels", "label", "y", "targets", "target", "arr_1")
_SAMPLED = 1 << 16


class ArraySource(Source):
    """Rows of arrays (N, ...), one after the other.

    Args:
        path: path that the user gave.
        arrays: the arrays, with the same dtype and the same shape except for N.
        labels: (N,) over all arrays, numbers or names; None for none.
        splits: the split of each array; empty names for arrays without a split.
        files: the files they come from.
        layout: ``NHWC`` or ``NCHW``; None decides by the shape.
        class_names: names of the numbers in ``labels``, if the file has them.

    Raises:
        UserError: arrays that do not belong together, or of an unknown layout.
    """

    def __init__(
        self,
        path: Path,
        arrays: Sequence[np.ndarray],
        labels: np.ndarray | None = None,
        splits: Sequence[str] = (),
        files: Sequence[Path] = (),
        layout: str | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        self.path, self._arrays, self._files = path, list(arrays), list(files)
        self.notes = []
        if len({(array.shape[1:], array.dtype) for array in arrays}) != 1:
            found = ", ".join(f"{array.dtype}{list(array.shape[1:])}" for array in arrays[:3])
            raise UserError(f"{path} holds arrays of several kinds ({found}): give one of them")
        if arrays[0].ndim == 0:
            raise UserError(f"{path} holds a single number: give images (N, H, W, C) or vectors (N, D)")
        self._ends = np.cumsum([len(array) for array in arrays])
        if len(self) == 0:
            raise UserError(f"{path} holds no rows")
        self._move = _order(arrays[0].shape[1:], layout, path)
        self._dtype = self._supported()
        self._labels, self.class_names = _numbered(labels, len(self), list(class_names), path)
        starts = [0, *self._ends[:-1].tolist()]
        rows = [np.arange(first, end) for first, end in zip(starts, self._ends.tolist(), strict=True)]
        named = [(name, part) for name, part in zip(splits, rows, strict=False) if name]
        self.splits = {
            name: np.concatenate([part for other, part in named if other == name])
            for name in ("train", "val", "test")
            if any(other == name for other, _ in named)
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    @property
    def dtype(self) -> str:
        return self._dtype

    def name(self, row: int) -> str:
        return f"row {row}"

    def shapes(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        return [self._row(self._arrays[0][:1][0]).shape] * len(rows)

    def reader(self, channels: int | None) -> Row:
        def row(number: int) -> np.ndarray:
            i = int(np.searchsorted(self._ends, number, side="right"))
            values = self._row(np.asarray(self._arrays[i][number - (self._ends[i - 1] if i else 0)]))
            # float64 values beyond float32 become infinite.
            with np.errstate(over="ignore"):
                values = values.astype(self._dtype, copy=False)
            if not np.isfinite(values).all():
                raise ValueError("NaN or infinite values")
            if channels == 3 and len(values) == 1 and values.ndim == 3 and values.dtype == np.uint8:
                return values.repeat(3, 0)
            if channels is not None and values.ndim == 3 and channels != len(values):
                raise ValueError(f"{len(values)} channels in the file, {channels} wanted")
            return values

        return row

    def files(self) -> list[Path]:
        return self._files

    def content_key(self, notes: Path) -> str:
        """Fingerprint from size and time of the files and from part of their content: arrays may exceed the memory."""
        parts: list[object] = []
        for file in self._files:
            size = file.stat().st_size
            with file.open("rb") as content:
                parts.append(hashlib.sha256(content.read(_SAMPLED)).hexdigest())
                content.seek(max(0, size - _SAMPLED))
                parts.append(hashlib.sha256(content.read(_SAMPLED)).hexdigest())
            parts += [size, file.stat().st_mtime_ns]
        return digest([*parts, self._move])

    def _row(self, values: np.ndarray) -> np.ndarray:
        if self._move == "vector":
            return values
        if self._move == "gray":
            return values[None]
        return values.transpose(2, 0, 1) if self._move == "NHWC" else values

    def _supported(self) -> str:
        """Return the dtype of the rows; wider whole numbers are examined in chunks."""
        dtype = self._arrays[0].dtype
        names = {"bool": "uint8", "float64": "float32"}
        if dtype.name in ("uint8", "uint16", "float16", "float32", *names):
            if dtype == np.float64:
                self.notes.append("float64 values are rounded to float32")
            return names.get(dtype.name, dtype.name)
        step = max(1, (1 << 24) // max(1, int(np.prod(self._arrays[0].shape[1:]))))
        try:
            for array in self._arrays:
                for first in range(0, max(1, len(array)), step):
                    as_stored(np.asarray(array[first : first + step]))
        except ValueError as error:
            raise UserError(f"{self.path} holds {error}") from error
        return "uint16"


def _order(shape: tuple[int, ...], layout: str | None, path: Path) -> str:
    """Return how a row of ``shape`` becomes (C, H, W), or ``vector``."""
    if layout not in (None, "NHWC", "NCHW"):
        raise UserError(f"datamodule.layout={layout}: choose NHWC or NCHW")
    if len(shape) == 1:
        return "vector"
    if len(shape) == 2:
        return "gray"
    if len(shape) != 3:
        raise UserError(f"{path} holds rows of shape {shape}: give images (N, H, W, C) or vectors (N, D)")
    if layout is not None:
        return layout
    first, middle, last = shape
    for likely in ((1, 3), (2, 4)):
        if last in likely:
            return "NHWC"
        if first in likely:
            return "NCHW"
    if first == middle != last:
        return "NHWC"
    if middle == last != first:
        return "NCHW"
    if last < min(first, middle):
        return "NHWC"
    if first < min(middle, last):
        return "NCHW"
    raise UserError(f"{path} holds rows of shape {shape}: say what comes first with datamodule.layout=NHWC or NCHW")


def _numbered(
    labels: np.ndarray | None, count: int, names: list[str], path: Path
) -> tuple[np.ndarray | None, list[str]]:
    """Return labels as numbers from 0, with their names."""
    if labels is None:
        return None, []
    labels = np.squeeze(labels, -1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim == 2 and labels.shape == (count, labels.shape[1]) and set(np.unique(labels)) <= {0, 1}:
        labels = labels.argmax(1)
    if labels.shape != (count,):
        raise UserError(f"{path} has {count} rows and labels of shape {labels.shape}: set datamodule.labels=false")
    if labels.dtype.kind in "US":
        texts = [str(label) for label in labels.astype(str)]
        names = in_order(texts)
        known = {name: i for i, name in enumerate(names)}
        return np.array([known[text] for text in texts], np.int64), names
    # NaN and infinity have no whole number; they are refused below.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64) if labels.dtype.kind in "iufb" else None
    if whole is None or (whole != labels).any() or whole.min() < 0:
        raise UserError(f"{path} has labels that are not whole numbers from 0: set datamodule.labels=false")
    classes = max(int(whole.max()) + 1, len(names))
    if classes > max(count, len(names)):
        raise UserError(f"{path} has labels up to {classes - 1} for {count} rows: set datamodule.labels=false")
    return whole, names + [str(i) for i in range(len(names), classes)]


def open_npy(path: Path, layout: str | None = None) -> ArraySource:
    """Map the rows of a npy file; raise UserError if it is damaged."""
    return ArraySource(path, [_mapped(path)], files=[path], layout=layout)


def _mapped(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            header = read_header(file, path.stat().st_size)
        if not header.shape:
            raise ValueError("it holds one number")
        if header.nbytes == 0:
            return np.empty(header.shape, header.dtype)
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): write it again") from error


def open_npys(path: Path, files: Sequence[Path], layout: str | None = None) -> ArraySource:
    """Several npy files of a folder as one set; files called ``train`` or ``test`` are splits."""
    splits = [SPLIT_NAMES.get(file.stem.lower(), "") for file in files]
    return ArraySource(path, list(map(_mapped, files)), splits=splits, files=files, layout=layout)


def open_npz(path: Path, files: Sequence[Path], layout: str | None = None) -> ArraySource:
    """The rows of one npz file, or of several as one set.

    Arrays are found by their names: ``samples``, ``images``, ``x``, ... with ``labels``, ``y``, ..., or with a split,
    as ``train_images`` and ``x_test``.

    Raises:
        UserError: a file is damaged or holds no such array.
    """
    arrays, labels, splits, names = [], [], [], []
    for file in files:
        with opened(file) as headers:
            parts = _parts(tuple(headers))
            if not parts:
                raise UserError(
                    f"{file} holds {', '.join(sorted(headers)) or 'nothing'}: images are expected as samples, images "
                    "or arr_0"
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


def _parts(keys: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """Split, images and labels of every part of an npz file."""
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
    """An array of an npz file, mapped, or read if it is compressed and the memory holds it."""
    header = headers[key]
    nbytes = header.nbytes
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        info = archive.getinfo(f"{key}.npy")
        if info.compress_type == zipfile.ZIP_STORED and not header.fortran and nbytes:
            # The local header repeats the name, and its extra field has a length of its own.
            file.seek(info.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), dtype="<u2").tolist()
            start = info.header_offset + 30 + name_length + extra_length
            mapped: np.ndarray = np.memmap(path, header.dtype, "r", start + header.start, header.shape)
            return mapped
    free = _memory()
    if nbytes > free // 2:
        raise UserError(
            f"{key} in {path} takes {bytes_in_words(nbytes)} unpacked and the memory has {bytes_in_words(free)}: save "
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
