"""Parquet files and data sets saved by Hugging Face ``datasets``: local files, read with pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...pictures import open_picture
from .arrays import ArraySource
from .labels import SPLIT_NAMES, numbered, rows_of_splits
from .source import Row, Source, digest

_IMAGES = ("image", "img", "images", "pixel_values", "x", "data", "samples", "features")
_LABELS = ("label", "labels", "fine_label", "class", "target", "y")


class TableSource(Source):
    """Encoded pictures in a column of tables.

    Args:
        path: the path that the user gave.
        files: the files.
        column: name of the column with the encoded pictures.
        tables: one table per file.
        splits: the split of each file; empty for none.
        labels: (N,) over all files; None for none.
        class_names: their names.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[Path],
        column: list[Any],
        splits: Sequence[str],
        labels: np.ndarray | None,
        class_names: list[str],
    ) -> None:
        self.path, self._files, self._columns = path, list(files), column
        self._labels, self.class_names = labels, class_names
        self.notes = []
        self._ends = np.cumsum([len(part) for part in column])
        self.splits = rows_of_splits(self._ends, splits)
        self._dtype: str | None = None

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels

    @property
    def dtype(self) -> str:
        if self._dtype is None:
            kinds = set()
            for i in range(len(self)):
                content = self._content(i)
                is_deep_png = content[:4] == b"\x89PNG" and content[24:25] == b"\x10"
                deep = is_deep_png or content[:4] in (b"II*\0", b"MM\0*")
                kinds.add(open_picture(content).dtype if deep else "uint8")
            order = ("float32", "float16", "uint16", "uint8")
            self._dtype = next(kind for kind in order if kind in kinds)
        return self._dtype

    def name(self, row: int) -> str:
        return f"row {row}"

    def shapes(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for row in rows:
            try:
                picture = open_picture(self._content(row))
            except (ValueError, OSError):
                continue
            found.append((picture.channels, picture.height, picture.width))
        return found

    def reader(self, channels: int | None) -> Row:
        return lambda row: self.as_dtype(open_picture(self._content(row)).pixels(channels))

    def files(self) -> list[Path]:
        return self._files

    def content_key(self, notes: Path) -> str:
        return digest([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files])

    def _content(self, row: int) -> bytes:
        i = int(np.searchsorted(self._ends, row, side="right"))
        value = self._columns[i][row - (int(self._ends[i - 1]) if i else 0)].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError("no bytes in this row: the table refers to files elsewhere")
        return content


def open_tables(path: Path, files: Sequence[Path], layout: str | None) -> Source:
    """Read tables with pictures, or with lists of numbers, as one set.

    Raises:
        UserError: pyarrow is missing, a file is damaged, or there is no column of images.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow, which is not installed: pip install '.[datasets]'") from error
    try:
        tables = [_table(file) for file in files]
        names = tables[0].column_names
        column = next((name for name in _IMAGES if name in names), None)
        label = next((name for name in _LABELS if name in names and name != column), None)
        if column is None:
            raise UserError(f"{path} has the columns {', '.join(names)}: images are expected as image")
        splits = [_split(file, path) for file in files]
        labels = None
        if label is not None:
            labels = np.concatenate([table[label].to_numpy() for table in tables])
            labels = labels.astype(str) if labels.dtype == object else labels
        class_names = _names_of(tables[0], label)
        kind = tables[0][column].type
        if _is_nested(kind):
            arrays = [_array(table[column], kind) for table in tables]
            return ArraySource(path, arrays, labels, splits, files, layout, class_names)
        count = sum(len(table) for table in tables)
        if not count:
            raise UserError(f"{path} has no rows")
        numbers, class_names = numbered(labels, count, class_names, path)
        return TableSource(path, files, [table[column] for table in tables], splits, numbers, class_names)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): write it again") from error


def _table(file: Path) -> Any:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file, memory_map=True)
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        try:
            return pyarrow.ipc.open_stream(source).read_all()
        except pyarrow.ArrowInvalid:
            return pyarrow.ipc.open_file(source).read_all()


def _is_nested(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _array(column: Any, kind: Any) -> np.ndarray:
    """A column of nested lists of one shape as an array."""
    import pyarrow

    shape, values = [], column.combine_chunks()
    values = values if isinstance(values, pyarrow.Array) else values.chunk(0)
    while _is_nested(values.type):
        count, values = len(values), values.flatten()
        length, rest = divmod(len(values), max(count, 1))
        if rest:
            raise UserError("rows of a column have different lengths: give images of one size")
        shape.append(length)
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(len(column), *shape)
    return numbers


def _split(file: Path, root: Path) -> str:
    """Return the split in a name such as ``train-00000-of-00001.parquet`` or ``test/data-00000.arrow``."""
    inside = file.relative_to(root).parts[:-1] if root.is_dir() else ()
    parts = [file.stem.split("-")[0].lower(), *(folder.lower() for folder in inside)]
    return next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), "")


def _names_of(table: Any, label: str | None) -> list[str]:
    """Class names that ``datasets`` stores with the columns."""
    kept = (table.schema.metadata or {}).get(b"huggingface")
    if kept is None or label is None:
        return []
    try:
        names = json.loads(kept)["info"]["features"][label].get("names", [])
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [str(name) for name in names]
