"""Npz files: written atomically, read with one clear line of error."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..errors import UserError
from .atomic import ADVICE, replacing
from .headers import opened, parse_header
from .untrusted import check_readable


def write_npz(path: str | Path, arrays: dict[str, np.ndarray], advice: str = ADVICE, *, durable: bool = True) -> None:
    """Write arrays, uncompressed; raise UserError if the system refuses. See ``replacing`` for the arguments."""
    with replacing(path, advice, durable=durable) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_npz(path: str | Path, skip: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an npz file except ``skip``.

    Raises:
        UserError: the file is missing, damaged, too large when unpacked, or holds pickled objects.
    """
    check_readable(path, "give the path of an npz file")
    with opened(Path(path), skip):
        pass
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name not in skip}
    except Exception as error:  # numpy passes on errors of zipfile, zlib and its reader
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}): choose another file") from error


def map_member(path: Path, name: str) -> np.ndarray:
    """Map an array of an uncompressed npz file into memory instead of reading it.

    Raises:
        UserError: the file is damaged or compressed, or holds no such array.
    """
    check_readable(path, "delete it and run the same command again")
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            info = archive.getinfo(f"{name}.npy")
            # The local header repeats the name, and its extra field has another length.
            file.seek(info.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), dtype="<u2").tolist()
            file.seek(info.header_offset + 30 + name_length + extra_length)
            shape, fortran, dtype = parse_header(file)
            if info.compress_type != zipfile.ZIP_STORED or fortran:
                raise ValueError("compressed or not in C order")
            if math.prod(shape) == 0:
                return np.empty(shape, dtype)
            return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the same command again") from error
