"""Npy files with impossible headers, npz files that contain them, and statistics files."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

from tests.reliability.hostile.files.archives import changed, packed
from tests.reliability.hostile.files.kinds import Kinds

ARRAYS, NPZ, STATISTICS = Kinds("npy"), Kinds("npz"), Kinds("statistics")

ROWS = np.zeros((40, 8, 8, 3), np.uint8)


def npy(array: np.ndarray) -> bytes:
    """Return the array as a file; objects are pickled."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def raw_npy(header: str | bytes, content: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    """Return a file with exactly this header."""
    text = header.encode("latin1") if isinstance(header, str) else header
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + content


def described(shape: object, descr: object = "|u1", fortran: object = False, content: bytes = bytes(7680)) -> bytes:
    """Return a file whose header contains these fields."""
    return raw_npy(f"{{'descr': {descr!r}, 'fortran_order': {fortran!r}, 'shape': {shape!r}, }}\n", content)


HEADERS = {
    "a shape whose product overflows": described((2**62, 2**62, 8, 3)),
    "a shape of terabytes": described((10**9, 64, 64, 3)),
    "a negative length": described((-40, 8, 8, 3)),
    "a shape of floats": described((40.0, 8, 8, 3)),
    "a shape of booleans": described((True, 8, 8, 3)),
    "a shape that is a number": described(40),
    "a shape that is a string": described("abc"),
    "seventy dimensions": described((40, *[1] * 70)),
    "a scalar": described(()),
    "no rows": described((0, 8, 8, 3)),
    "rows without pixels": described((40, 0, 0, 3)),
    "2^60 rows without pixels": described((2**60, 0, 0, 3)),
    "complex numbers": described((40, 2, 2, 3), "<c16"),
    "dates": described((40, 2, 2, 3), "<M8[ns]"),
    "strings": described((40, 2, 2, 3), "<U4"),
    "records": described((40,), [("a", "<f4"), ("b", "<f4")]),
    "items of 2 GB": described((1,), "|V2147483647"),
    "items of no bytes": described((40, 8, 8, 3), "|V0"),
    "128-bit floats": described((40, 2, 2, 3), "<f16"),
    "numbers far below zero": npy(np.full((40, 8, 8, 3), -(2**62))),
    "a Fortran order that is a string": described((40, 8, 8, 3), fortran="perhaps"),
    "Python objects": npy(np.array([{"a": 1}] * 40, dtype=object)),
    "a type that does not exist": described((40, 8, 8, 3), "<z9"),
    "a type nested a thousand times": described((40, 8, 8, 3), "[" * 1000),
    "a header that is an expression": raw_npy("__import__('os').system('touch evil')\n", bytes(100)),
    "a header that is nested": raw_npy("(" * 60_000 + "\n"),
    "a header of brackets": raw_npy("[" * 9000 + "]" * 9000 + "\n"),
    "a header without a shape": raw_npy("{'descr': '|u1', 'fortran_order': False}\n"),
    "a header with an unknown key": raw_npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'x': 1}\n", bytes(9)
    ),
    "a header of 4 GB": raw_npy("{}", version=2, length=2**32 - 1),
    "a header longer than the file": raw_npy("{}", length=60_000),
    "version 9": raw_npy("{}", version=9),
    "NaN values": npy(np.full((40, 8, 8, 3), np.nan, np.float32)),
    "infinite values": npy(np.full((40, 8, 8, 3), np.inf, np.float32)),
    "the largest floats": npy(np.full((40, 8, 8, 3), 1.7e308)),
}
"""Npy files by fault."""

for name, content in HEADERS.items():
    ARRAYS.add(name, lambda good, bad, content=content: bad.write_bytes(content))
    of_npz = packed({"samples.npy": content, "index.npy": npy(np.arange(40))}, zipfile.ZIP_STORED)
    NPZ.add(name, lambda good, bad, content=of_npz: bad.write_bytes(content))
ARRAYS.add("Fortran order", lambda good, bad: bad.write_bytes(npy(np.asfortranarray(np.load(good)))), harmless=True)


def _npz(name: str, content: bytes, harmless: bool = False) -> None:
    NPZ.add(name, lambda good, bad: bad.write_bytes(content), harmless)


_GOOD = packed({"samples.npy": npy(ROWS), "index.npy": npy(np.arange(40))})
_npz("no arrays", packed({}))
_npz("arrays with other names", packed({"weights.npy": npy(ROWS)}))
_npz("members that are not arrays", packed({"samples.npy": b"no array"}))
_npz("encrypted", changed(_GOOD, 8, b"\x01\x00", local=6))
_npz("an unknown compression method", changed(_GOOD, 10, b"\x63\x00", local=8))
_npz("a member beyond the end", changed(_GOOD, 42, struct.pack("<I", 10**9)))
_npz("an unpacked size of 4 GB", changed(_GOOD, 24, struct.pack("<I", 2**32 - 2)))
_npz("paths outside the folder", packed({"../../samples.npy": npy(ROWS), "samples.npy": npy(ROWS)}), harmless=True)
for name, labels in {
    "negative labels": np.full(40, -1),
    "NaN labels": np.full(40, np.nan),
    "labels of 2^62": np.full(40, 2**62),
    "labels that are objects": np.array([None] * 40, dtype=object),
    "too few labels": np.zeros(3, np.int64),
    "labels of three dimensions": np.zeros((40, 2, 2), np.int64),
}.items():
    # Only training reads labels.
    _npz(name, packed({"images.npy": npy(ROWS), "labels.npy": npy(labels)}), harmless=True)


@NPZ.kind("600 MB of deflated zeros")
def _bomb(good: Path, bad: Path) -> None:
    with (
        zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("samples.npy", "w") as file,
    ):
        file.write(described((3000, 256, 256, 3), content=b""))
        for _ in range(3000 * 256 * 256 * 3 >> 20):
            file.write(bytes(1 << 20))


def _moments(name: str, harmless: bool = False, **arrays: np.ndarray) -> None:
    def make(good: Path, bad: Path) -> None:
        with np.load(good) as file:
            content = {key: file[key] for key in file.files}
        with bad.open("wb") as file:
            np.savez(file, **content | {key: np.asarray(value) for key, value in arrays.items()})

    STATISTICS.add(name, make, harmless)


_D = 192
_SIGMA = np.eye(_D)
_BAD = _SIGMA.copy()
_BAD[0, 1] = 0.5
_NEGATIVE = _SIGMA.copy()
_NEGATIVE[0, 1] = _NEGATIVE[1, 0] = 2.0
_moments("a NaN mean", mu=np.full(_D, np.nan))
_moments("an infinite mean", mu=np.full(_D, np.inf))
_moments("a NaN covariance", sigma=np.full((_D, _D), np.nan))
_moments("a covariance that is not symmetric", sigma=_BAD)
_moments("a covariance with negative eigenvalues", sigma=_NEGATIVE)
_moments("a covariance with negative variances", sigma=-_SIGMA)
_moments("a covariance of the largest floats", sigma=_SIGMA * 1.7e308)
_moments("a mean of another length", mu=np.zeros(5))
_moments("another number of features", mu=np.zeros(5), sigma=np.eye(5))
_moments("a mean of two dimensions", mu=np.zeros((_D, 1)))
_moments("a scalar mean", mu=np.float64(0))
_moments("no features", mu=np.zeros(0), sigma=np.zeros((0, 0)))
_moments("a mean of strings", mu=np.array(["a"] * _D))
_moments("complex moments", mu=np.zeros(_D, complex), sigma=_SIGMA.astype(complex) * 1j)
_moments("a mean of objects", mu=np.array([None] * _D, dtype=object))
_moments("a mean of dates", mu=np.zeros(_D, "M8[ns]"))
_moments("a negative number of samples", n=np.int64(-5))
_moments("a number of samples that is a string", n=np.array("many"))
_moments("a number of samples that is an array", n=np.arange(9))
_moments("another extractor", fingerprint=np.array("another"))
_moments("a fingerprint of two lines", fingerprint=np.array("a\nerror: b"))
_moments("a fingerprint of a megabyte", fingerprint=np.array("a" * (1 << 20)))

KINDS = [*ARRAYS.all, *NPZ.all, *STATISTICS.all]
