"""Arrays of a local zarr store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .arrays import ArraySource
from .numpy_files import parts_of


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr store."""
    return any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup"))


def open_zarr(path: Path, layout: str | None) -> ArraySource:
    """Return the rows of a zarr array, or of the arrays of a group by the same names as in npz files.

    Raises:
        UserError: zarr is missing, or the store is damaged.
    """
    try:
        import zarr
    except ImportError as error:
        raise UserError(f"{path} needs zarr, which is not installed: pip install '.[datasets]'") from error
    try:
        store: Any = zarr.open(str(path), mode="r")
        files = sorted(file for file in path.rglob("*") if file.is_file())
        is_array: bool = isinstance(store, zarr.Array)
        if is_array:
            return ArraySource(path, [store], files=files, layout=layout)
        parts = parts_of(tuple(store.array_keys()))
        if not parts:
            raise UserError(
                f"{path} contains {', '.join(store.array_keys()) or 'no array'}: images are expected as images"
            )
        labels = [None if label is None else np.asarray(store[label]) for _, _, label in parts]
        known = [label for label in labels if label is not None]
        joined = np.concatenate(known) if len(known) == len(labels) else None
        arrays = [store[key] for _, key, _ in parts]
        return ArraySource(path, arrays, joined, [split for split, _, _ in parts], files, layout)
    except UserError:
        raise
    # A store has many files, and codecs may raise any exception.
    except Exception as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): write it again") from error
