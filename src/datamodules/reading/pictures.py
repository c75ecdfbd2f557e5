"""Picture files and single arrays of a folder or zip archive."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import UserError
from ...io.headers import read_npy
from ...pictures import SUFFIXES, open_picture
from . import labels as folders
from .listing import Listing, list_files
from .source import Row, Source

_HEAD = 26
_MAY_BE_DEEP = (".png", ".tif", ".tiff", ".npy")
_LOSSY = (".jpg", ".jpeg", ".webp")
_THREADS = 8


class PictureSource(Source):
    """Files with one image each, and TIFF stacks, in which every page is a row.

    Args:
        files: files with the endings of pictures or ``.npy``; arrays are (H, W) or (H, W, C).

    Raises:
        UserError: there are no such files.
    """

    parallel = True

    def __init__(self, files: Listing) -> None:
        if not files.names:
            raise UserError(
                f"{files.path} contains no image (among {len(files.others)} files): supported are "
                f"{', '.join(sorted(SUFFIXES))}, .npy, .npz, .parquet"
            )
        self.path, self._files = files.path, files
        self.notes = []
        lossy = sum(name.lower().endswith(_LOSSY) for name in files.names)
        if lossy:
            self.notes.append(f"{lossy} images may be lossy (JPEG, WebP), which changes scores")
        ignored = len(files.others) - (self._index is not None)
        if ignored:
            self.notes.append(f"{ignored} files are not images and were skipped")

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def labels(self) -> np.ndarray | None:
        per_file = self._file_labels[0]
        return None if per_file is None else per_file[[file for file, _ in self._rows]]

    @cached_property
    def class_names(self) -> list[str]:  # type: ignore[override] # computed when asked for
        return self._file_labels[1]

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:  # type: ignore[override] # computed when asked for
        of_file = None if self._index is not None else folders.split_folders(self._files.names)
        if of_file is None:
            return {}
        of_row = np.array([of_file[file] for file, _ in self._rows])
        return {name: np.flatnonzero(of_row == name) for name in ("train", "val", "test") if name in of_row}

    @cached_property
    def dtype(self) -> str:
        kinds = {kind for _, kind in self._deep.values()} | {"uint8"}
        if "float32" in kinds or {"uint16", "float16"} <= kinds:
            return "float32"
        return next(kind for kind in ("float16", "uint16", "uint8") if kind in kinds)

    def name(self, row: int) -> str:
        file, page = self._rows[row]
        pages = self._deep.get(file, (1, ""))[0]
        return self._files.names[file] + (f" page {page + 1}" if pages > 1 else "")

    def shapes(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        read = self._files.reader()
        found = []
        for row in rows:
            try:
                found.append(_shape(self._files.names[self._rows[row][0]], read(self._files.names[self._rows[row][0]])))
            # A decoder may raise any exception on damaged files; decoding names them later.
            except Exception:
                continue
        return found

    def reader(self, channels: int | None) -> Row:
        read = self._files.reader()

        def row(number: int) -> np.ndarray:
            file, page = self._rows[number]
            name = self._files.names[file]
            content = read(name)
            if name.lower().endswith(".npy"):
                return _array_image(read_npy(io.BytesIO(content), len(content)), channels)
            return self.as_dtype(open_picture(content).pixels(channels, page))

        return row

    def files(self) -> list[Path]:
        return self._files.files()

    def content_key(self, notes: Path) -> str:
        return self._files.content_key(notes)

    @cached_property
    def _index(self) -> str | None:
        """The name of ``dataset.json``, which replaces folders as the source of labels."""
        found = [name for name in self._files.others if PurePosixPath(name).name == folders.INDEX]
        return min(found, key=len) if found else None

    @cached_property
    def _file_labels(self) -> tuple[np.ndarray | None, list[str]]:
        names = self._files.names
        if self._index is not None:
            try:
                content = self._files.reader()(self._index)
            # An archive may raise any exception if it is damaged.
            except Exception as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{self._index} in {self.path} cannot be read ({reason}): write it again") from error
            base = self._index.removesuffix(folders.INDEX)
            labels = folders.read_index(content, names, base, self.path)
            return labels, [] if labels is None else [str(i) for i in range(int(labels.max()) + 1)]
        of_file, stray = folders.class_folders(names, folders.split_folders(names))
        if stray:
            folders.refuse_stray(names, stray, self.path)
        classes = folders.in_order(of_file)
        if classes == [""]:
            return None, []
        numbers = {name: i for i, name in enumerate(classes)}
        return np.array([numbers[name] for name in of_file], np.int64), classes

    @cached_property
    def _rows(self) -> list[tuple[int, int]]:
        """File and page of every row."""
        return [(i, page) for i in range(len(self._files.names)) for page in range(self._deep.get(i, (1, ""))[0])]

    @cached_property
    def _deep(self) -> dict[int, tuple[int, str]]:
        """Pages and dtype of the files that may have more than one page or more than 8 bits."""
        numbers = [i for i, name in enumerate(self._files.names) if name.lower().endswith(_MAY_BE_DEEP)]
        if not numbers:
            return {}
        # Zip archives cannot be read by several threads.
        threads = _THREADS if self.path.is_dir() else 1
        head, whole = self._files.head(_HEAD), self._files.reader()
        with ThreadPoolExecutor(threads) as pool:
            kinds = pool.map(lambda i: _kind(self._files.names[i], head, whole), numbers)
            return {i: kind for i, kind in zip(numbers, kinds, strict=True) if kind != (1, "uint8")}


def _kind(name: str, head: Callable[[str], bytes], whole: Callable[[str], bytes]) -> tuple[int, str]:
    """Pages and dtype of a file; for an unreadable file those of a plain picture."""
    try:
        if name.lower().endswith(".png"):
            start = head(name)
            return 1, "uint16" if len(start) > 24 and struct.unpack_from("B", start, 24)[0] == 16 else "uint8"
        content = whole(name)
        if name.lower().endswith(".npy"):
            return 1, _array_image(read_npy(io.BytesIO(content), len(content)), None).dtype.name
        picture = open_picture(content)
        return picture.pages, picture.dtype
    # A decoder may raise any exception on damaged files; decoding names the file later.
    except Exception:
        return 1, "uint8"


def _shape(name: str, content: bytes) -> tuple[int, ...]:
    if name.lower().endswith(".npy"):
        return _array_image(read_npy(io.BytesIO(content), len(content)), None).shape
    picture = open_picture(content)
    return picture.channels, picture.height, picture.width


def _array_image(array: np.ndarray, channels: int | None) -> np.ndarray:
    """Convert an array (H, W) or (H, W, C) to (C, H, W)."""
    if array.ndim not in (2, 3):
        raise ValueError(f"an array of shape {array.shape} is not one image (H, W, C)")
    image = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if channels not in (None, len(image)):
        raise ValueError(f"{len(image)} channels in the file, {channels} wanted")
    return image


def open_pictures(path: Path) -> PictureSource:
    """Open the pictures of a folder or zip archive; raise UserError if there are none."""
    return PictureSource(list_files(path, SUFFIXES | {".npy"}))
