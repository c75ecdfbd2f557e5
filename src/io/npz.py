"""Npz files that are whole or not there, and one line for those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import UserError


def write_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays under a temporary name beside ``path``, then rename; UserError when that fails."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder or free space") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file; UserError when it is missing, truncated or holds pickled objects."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: give the path of an npz file") from error
    except Exception as error:  # numpy raises whatever zipfile, zlib and its own reader raise
        raise UserError(f"{path} is damaged or no npz file: delete it or choose another") from error
