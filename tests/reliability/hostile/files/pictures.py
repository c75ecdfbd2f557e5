"""Pictures that unpack to gigabytes, contain loops or have false headers."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.reliability.hostile.files.kinds import Kinds

PICTURES = Kinds("picture")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(count: int) -> bytes:
    """Return ``count`` deflated zeros."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block[: count - first]) for first in range(0, count, len(block))]
    return b"".join([*parts, packer.flush()])


def png(width: int, height: int, *chunks: bytes, bits: int = 8, color: int = 2, data: bytes | None = None) -> bytes:
    """Return a black PNG with these properties."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    packed = zeros(height * (1 + width * channels * bits // 8)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _add(name: str, content: bytes, harmless: bool = False) -> None:
    PICTURES.add(name, lambda good, bad: bad.write_bytes(content), harmless)


def _add_late(name: str, content: Callable[[], bytes], harmless: bool = False) -> None:
    """Like ``_add``, for content that is slow to make."""
    PICTURES.add(name, lambda good, bad: bad.write_bytes(content()), harmless)


_add("a PNG header of 300,000 x 300,000 pixels", png(300_000, 300_000, data=zeros(100)))
_add("a PNG of 2^31 - 1 pixels in a row", png(2**31 - 1, 1, data=zeros(100)))
_add("a PNG without pixels", png(0, 0, data=zeros(0)))
_add("a PNG whose pixels are missing", png(8, 8, data=zeros(10)))
_add("a PNG of 16 bits whose pixels are missing", png(8, 8, bits=16, data=zeros(10)))
_add("a PNG of an unknown color type", png(8, 8).replace(b"\x08\x02\x00\x00\x00", b"\x08\x07\x00\x00\x00"))
_add("a PNG of 3 bits", png(8, 8, data=zeros(8 * 25)).replace(b"\x08\x02\x00", b"\x03\x02\x00"))
_add_late(
    "a PNG with a profile of 100 MB", lambda: png(8, 8, chunk(b"iCCP", b"x\0\0" + zeros(100 << 20))), harmless=True
)
_add_late("a PNG with a text of 100 MB", lambda: png(8, 8, chunk(b"zTXt", b"x\0\0" + zeros(100 << 20))), harmless=True)
_add("a PNG with a broken EXIF", png(8, 8, chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")), harmless=True)
_add("a PNG with too short a palette", png(8, 8, chunk(b"PLTE", b"\0"), color=3), harmless=True)
_add("a BMP of negative size", b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, -9, -9, 1, 24, *[0] * 6))
_add("a GIF header of 65535 x 65535 pixels", b"GIF89a\xff\xff\xff\xff\x00\x00\x00;")
_add("a PostScript program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\nshowpage\n")
_add("an SVG that links to another file", b'<svg xmlns:x="x"><image x:href="file:///etc/passwd"/></svg>')


_add_late("a PNG of 121 million black pixels and 400 kB", lambda: png(11_000, 11_000))
_add_late("a PNG of 16 bits of a gigabyte and 1 MB", lambda: png(13_000, 13_000, bits=16))


def tiff(tags: dict[int, tuple[int, int]], *, following: int = 0, data: bytes = b"", pages: int = 1) -> bytes:
    """Return a little-endian TIFF of ``pages`` pages with these tags (type, value), ending with a link to
    ``following``.
    """
    out = io.BytesIO()
    out.write(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
    for page in range(pages):
        out.write(struct.pack("<H", len(tags)))
        for tag, (kind, value) in sorted(tags.items()):
            out.write(struct.pack("<HHII", tag, kind, 1, value))
        size = 2 + 12 * len(tags) + 4
        out.write(struct.pack("<I", following if page == pages - 1 else 8 + len(data) + (page + 1) * size))
    return out.getvalue()


_DEEP = {256: (4, 8), 257: (4, 8), 258: (3, 16), 259: (3, 1), 262: (3, 2), 273: (4, 8), 277: (3, 3), 279: (4, 384)}
_add("a TIFF whose pages form a loop", tiff(_DEEP, following=8))
_add("a TIFF whose pixels are missing", tiff(_DEEP | {273: (4, 10**9)}))
_add("a TIFF of 65535 channels", tiff(_DEEP | {277: (3, 65535)}))
_add("a TIFF header of 2^32 pixels", tiff(_DEEP | {256: (4, 2**32 - 1), 257: (4, 2**32 - 1)}))
_add("a TIFF of zero channels", tiff(_DEEP | {277: (3, 0)}))
_add("a TIFF of complex numbers", tiff(_DEEP | {258: (3, 64), 339: (3, 6)}))
_add_late("a TIFF of 100,000 pages", lambda: tiff(_DEEP, pages=100_000), harmless=True)


def _large_tiff() -> bytes:
    data = zeros(3 << 29)
    return tiff(_DEEP | {256: (4, 16_000), 257: (4, 16_000), 259: (3, 8), 279: (4, len(data))}, data=data)


_add_late("a TIFF that unpacks to a gigabyte", _large_tiff)


def _values(name: str, array: np.ndarray, harmless: bool = False) -> None:
    def make(good: Path, bad: Path) -> None:
        Image.fromarray(array).save(bad, "TIFF")

    PICTURES.add(name, make, harmless)


_values("a TIFF of NaN floats", np.full((8, 8), np.nan, np.float32))
_values("a TIFF of infinite floats", np.full((8, 8), -np.inf, np.float32))
_values("a TIFF of negative numbers", np.full((8, 8), -5, np.int32))
_values("a TIFF of numbers beyond 16 bits", np.full((8, 8), 10**9, np.int32))

KINDS = PICTURES.all
