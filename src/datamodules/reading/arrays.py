"""Rows of arrays, from any kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...io.hashing import bytes_hash
from ...io.headers import as_stored
from .labels import numbered, rows_of_splits
from .source import Row, Source, digest

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
        UserError: the arrays do not belong together, or their layout is unknown.
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
            raise UserError(f"{path} contains arrays of several types ({found}): give one of them")
        if arrays[0].ndim == 0:
            raise UserError(f"{path} contains a single number: give images (N, H, W, C) or vectors (N, D)")
        self._ends = np.cumsum([len(array) for array in arrays])
        if len(self) == 0:
            raise UserError(f"{path} has no rows")
        self._move = _order(arrays[0].shape[1:], layout, path)
        self._dtype = self._supported()
        self._labels, self.class_names = numbered(labels, len(self), list(class_names), path)
        self.splits = rows_of_splits(self._ends, splits)

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
        """Fingerprint from size and time of the files and from part of their content: arrays may be larger than the
        memory.
        """
        parts: list[object] = []
        for file in self._files:
            size = file.stat().st_size
            with file.open("rb") as content:
                parts.append(bytes_hash(content.read(_SAMPLED)))
                content.seek(max(0, size - _SAMPLED))
                parts.append(bytes_hash(content.read(_SAMPLED)))
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
            raise UserError(f"{self.path} contains {error}") from error
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
        raise UserError(f"{path} has rows of shape {shape}: give images (N, H, W, C) or vectors (N, D)")
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
    raise UserError(
        f"{path} has rows of shape {shape}: set the order of their axes with datamodule.layout=NHWC or NCHW"
    )
