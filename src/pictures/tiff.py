"""TIFF pages with 16-bit integers or 32-bit floats in any number of channels (TIFF 6.0, sections 2, 14 and 19).

Pillow reads one channel of such pages and cuts colors to 8 bits, so these pages are read here: strips, uncompressed
or deflated, with or without horizontal differencing.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _ORIENTATION, _SAMPLES, _COUNTS = 273, 274, 277, 279
_PLANAR, _PREDICTOR, _TILES, _FORMAT = 284, 317, 322, 339
_TYPES = {1: "B", 3: "H", 4: "I"}
_NONE, _DEFLATE = 1, (8, 32946)
_UNSIGNED, _FLOAT = 1, 3
_MAX_PAGES = 100_000


@dataclass(frozen=True)
class Page:
    """One page of a TIFF file.

    Attributes:
        tags: values of the numeric tags by their number.
        order: ``<`` or ``>``, the byte order of the file.
    """

    tags: dict[int, tuple[int, ...]]
    order: Literal["<", ">"]

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) as stored, before the orientation is applied."""
        return self.first(_HEIGHT, 0), self.first(_WIDTH, 0), self.first(_SAMPLES, 1)

    @property
    def bits(self) -> int:
        """Bits of one value, the largest over the channels."""
        return max(self.tags.get(_BITS, (1,)))

    @property
    def orientation(self) -> int:
        """1 to 8, as in EXIF."""
        return self.first(_ORIENTATION, 1)

    @property
    def dtype(self) -> str:
        """``uint8`` (also for fewer bits), ``uint16`` or ``float32``.

        Raises:
            ValueError: another kind of number.
        """
        kind = self.first(_FORMAT, _UNSIGNED)
        if kind == _FLOAT and self.bits in (16, 32):
            return "float32" if self.bits == 32 else "float16"
        if kind == _UNSIGNED and self.bits <= 16:
            return "uint8" if self.bits <= 8 else "uint16"
        name = {_UNSIGNED: "unsigned", 2: "signed", _FLOAT: "float"}.get(kind, "other")
        raise ValueError(f"{self.bits}-bit {name} values are not supported: convert to uint16 or float32")

    def pixels(self, content: bytes) -> np.ndarray:
        """The values (H, W, C), not turned.

        Raises:
            ValueError: a layout or compression that is not supported, or a damaged file.
        """
        height, width, channels = self.shape
        compression = self.first(_COMPRESSION, _NONE)
        if _TILES in self.tags or compression not in (_NONE, *_DEFLATE):
            raise ValueError(
                f"{self.bits}-bit values with {channels} channels in tiles or with compression {compression} are not "
                "supported: save the file uncompressed, or as PNG or npy"
            )
        dtype = np.dtype(self.dtype).newbyteorder(self.order)
        expected = height * width * channels * dtype.itemsize
        strips = []
        for offset, count in zip(self.tags.get(_OFFSETS, ()), self.tags.get(_COUNTS, ()), strict=False):
            strip = content[offset : offset + count]
            strips.append(strip if compression == _NONE else zlib.decompressobj().decompress(strip, expected))
        data = b"".join(strips)[:expected]
        if len(data) < expected:
            raise ValueError("the file is truncated")
        planes = self.first(_PLANAR, 1) == 2
        shape = (channels, height, width) if planes else (height, width, channels)
        values = np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
        values = values.transpose(1, 2, 0) if planes else values
        if (predictor := self.first(_PREDICTOR, 1)) == 2 and values.dtype.kind == "u":
            values = np.cumsum(values, axis=1, dtype=values.dtype)
        elif predictor != 1:
            raise ValueError(f"predictor {predictor} is not supported: save the file uncompressed, or as PNG or npy")
        # 0 means that the smallest value is white.
        if self.first(_PHOTOMETRIC, 1) == 0 and values.dtype.kind == "u":
            return np.iinfo(values.dtype).max - values
        return values


def pages(content: bytes) -> list[Page] | None:
    """All pages of a classic TIFF file; None if ``content`` is another kind of file.

    Raises:
        ValueError: a damaged file.
    """
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order: Literal["<", ">"] = "<" if content[:2] == b"II" else ">"
    found: list[Page] = []
    seen = set()
    try:
        (at,) = struct.unpack_from(f"{order}I", content, 4)
        while at:
            if at in seen or len(found) >= _MAX_PAGES:
                raise ValueError("the pages of the file form a loop")
            seen.add(at)
            (entries,) = struct.unpack_from(f"{order}H", content, at)
            found.append(
                Page(dict(filter(None, (_tag(content, order, at + 2 + 12 * i) for i in range(entries)))), order)
            )
            (at,) = struct.unpack_from(f"{order}I", content, at + 2 + 12 * entries)
    except struct.error as error:
        raise ValueError("the file is truncated") from error
    return found


def _tag(content: bytes, order: str, at: int) -> tuple[int, tuple[int, ...]] | None:
    tag, kind, count = struct.unpack_from(f"{order}HHI", content, at)
    letter = _TYPES.get(kind)
    if letter is None:
        return None
    size = struct.calcsize(letter) * count
    if size > len(content):
        raise ValueError("the file is truncated")
    (where,) = (at + 8,) if size <= 4 else struct.unpack_from(f"{order}I", content, at + 8)
    values: tuple[Any, ...] = struct.unpack_from(f"{order}{count}{letter}", content, where)
    return tag, values
