"""The interface of every kind of data from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...io.hashing import text_hash

Row = Callable[[int], np.ndarray]
"""Reads a row by its number: (C, H, W) of an image, (D,) of a vector, in the dtype of its file."""


class Source(ABC):
    """Rows in a fixed order: images or vectors, with labels and splits where the data have them.

    Attributes:
        path: the path that the user gave.
        class_names: names of the classes in the order of their numbers; empty without labels.
        splits: row numbers of the splits that the data name themselves, ``train``, ``val`` and ``test``.
        notes: what a reader of the data should know, one line each.
        parallel: whether several processes read faster than one.
    """

    path: Path
    class_names: list[str]
    splits: dict[str, np.ndarray]
    notes: list[str]
    parallel = False

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def labels(self) -> np.ndarray | None:
        """Class numbers (N,) int64, or None."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The dtype that holds every row: uint8, uint16, float16 or float32."""

    @abstractmethod
    def name(self, row: int) -> str:
        """A row for a message."""

    @abstractmethod
    def shapes(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Shapes (C, H, W) or (D,) of rows by their headers; rows that cannot be read are left out."""

    @abstractmethod
    def reader(self, channels: int | None) -> Row:
        """Read rows; create one reader per process.

        The reader raises ValueError, OSError or another error of a decoder for an unreadable row.

        Args:
            channels: number of channels that pictures are converted to; None to keep those of each file. Arrays keep
                theirs.

        The reader raises ValueError, OSError or another error of a decoder for a row that cannot be read.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """The files on the disk that determine the data."""

    @abstractmethod
    def content_key(self, notes: Path) -> str:
        """SHA-256 over names and contents; ``notes`` is a folder for results of earlier calls."""

    @property
    def fingerprint(self) -> str:
        """A fingerprint that changes when size or time of a file changes."""
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files()]
        return digest(stats)

    def as_dtype(self, row: np.ndarray) -> np.ndarray:
        """Convert a row to the dtype of the whole source: bytes are scaled to 16 bits or to [0, 1] if other rows have
        more depth.
        """
        wanted = np.dtype(self.dtype)
        if row.dtype == wanted:
            return row
        if row.dtype == np.uint8 and wanted == np.uint16:
            return row.astype(np.uint16) * 257
        if wanted.kind == "u":
            raise ValueError(f"{row.dtype} values in a file with the ending of {wanted} files: change the ending")
        if row.dtype.kind == "u":
            return (row / np.iinfo(row.dtype).max).astype(wanted)
        return row.astype(wanted)


def digest(items: Sequence[object]) -> str:
    """SHA-256 of the items' representations, in hexadecimal."""
    return text_hash("\n".join(map(repr, items)))
