"""Read headers of npy files and of members of npz files, and compare them with the file before memory is allocated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import IOBase
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ..errors import UserError, format_bytes
from .untrusted import unpack_refusal

_LARGEST = 2**50
_KINDS = {"uint8": "uint8", "bool": "uint8", "uint16": "uint16", "float16": "float16", "float32": "float32"}


@dataclass(frozen=True)
class Header:
    """Content of a npy header.

    Attributes:
        shape: shape of the array.
        dtype: dtype of its numbers.
        fortran: whether the array is stored in Fortran order.
        start: size of the header in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Size of the numbers in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IOBase | IO[bytes], size: int) -> Header:
    """Return the header of a npy file of ``size`` bytes.

    Raises:
        ValueError: it is not a npy file, contains Python objects, or has fewer bytes than its header declares.
    """
    shape, fortran, dtype = parse_header(file)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"a shape of {shape}")
    if math.prod(max(1, length) for length in shape) * dtype.itemsize >= _LARGEST:
        raise ValueError(f"a shape of {shape} does not fit into memory")
    header = Header(tuple(shape), dtype, fortran, file.tell())
    if dtype.hasobject:
        raise ValueError("it contains Python objects")
    if size - header.start < header.nbytes:
        raise ValueError(
            f"the header declares {format_bytes(header.nbytes)}, the file has {format_bytes(size - header.start)}"
        )
    return header


def parse_header(file: IOBase | IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, Fortran order and dtype as the header at the position of ``file`` declares them.

    Raises:
        ValueError: it is not a header.
    """
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the npy format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        return read(file)
    except Exception as error:  # numpy tokenizes and evaluates the header, and passes on the errors of Python's parser
        raise ValueError(f"a damaged header: {error}") from error


def read_npy(file: IOBase | IO[bytes], size: int) -> np.ndarray:
    """Return the array of a npy file of ``size`` bytes in a supported dtype; raise ValueError if it is damaged or
    unsupported.
    """
    read_header(file, size)
    file.seek(0)
    return as_stored(npy.read_array(file, allow_pickle=False))


def as_stored(array: np.ndarray) -> np.ndarray:
    """Convert numbers to uint8, uint16, float16 or float32 without changing a value; float64 is rounded to float32.

    Raises:
        ValueError: no such type can store the values.
    """
    if array.dtype.name in _KINDS:
        return array.astype(_KINDS[array.dtype.name], copy=False)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low >= 0 and high < 65536:
            return array.astype(np.uint8 if high < 256 and array.dtype.itemsize == 1 else np.uint16)
        raise ValueError(f"{array.dtype} values from {low} to {high}: convert to uint8, uint16 or float32")
    raise ValueError(f"{array.dtype} values: convert to uint8, uint16, float16 or float32")


@contextmanager
def opened(path: Path, skip: Collection[str] = ()) -> Iterator[dict[str, Header]]:
    """Return the headers of all arrays of an npz file except ``skip``.

    Raises:
        UserError: the file is damaged, encrypted, or far larger unpacked than packed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.flag_bits & 1 for member in members):
                raise UserError(f"{path} is encrypted: save it again without a password")
            headers = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if member.filename.endswith(".npy") and name not in skip:
                    if why := unpack_refusal(member.file_size, member.compress_size):
                        raise ValueError(f"{name} {why}")
                    with archive.open(member) as file:
                        headers[name] = read_header(file, member.file_size)
            yield headers
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}): write it again, or choose another file"
        ) from error
