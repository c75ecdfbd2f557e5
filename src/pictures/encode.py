"""Encode arrays (C, H, W) as picture files that keep their depth."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png_bytes(pixels: np.ndarray) -> bytes:
    """A PNG file of 8 or 16 bits.

    Args:
        pixels: (C, H, W) uint8 or uint16, C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGB and alpha).
    """
    if pixels.dtype == np.uint8:
        from PIL import Image

        stream = io.BytesIO()
        last = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        Image.fromarray(last[..., 0] if len(pixels) == 1 else last).save(stream, format="png")
        return stream.getvalue()
    channels, height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
    # Filter 2 (up) in every row except the first: differences of smooth pictures compress well.
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(">u2").view(np.uint8).reshape(height, -1)
    above = np.zeros_like(rows)
    above[1:] = rows[:-1]
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff_bytes(pixels: np.ndarray) -> bytes:
    """An uncompressed TIFF file with one page (TIFF 6.0, section 2).

    Args:
        pixels: (C, H, W) uint8, uint16 or float32, any C.
    """
    channels, height, width = pixels.shape
    data = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits, kind = 8 * pixels.dtype.itemsize, 3 if pixels.dtype.kind == "f" else 1
    colors = 3 if channels >= 3 else 1
    start = 8 + len(data) + len(data) % 2
    lists = {258: [bits] * channels, 339: [kind] * channels, 338: [0] * (channels - colors)}
    # (tag, type, values): type 3 is 16 bits, type 4 is 32 bits.
    tags: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, lists[258]),
        (259, 3, [1]),
        (262, 3, [2 if channels >= 3 else 1]),
        (273, 4, [8]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        (284, 3, [1]),
        *([(338, 3, lists[338])] if channels > colors else []),
        (339, 3, lists[339]),
    ]
    extra_at, extra, entries = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, size, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if size == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", extra_at + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, size, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + directory + extra


def npy_bytes(pixels: np.ndarray) -> bytes:
    """A npy file (H, W, C), or (H, W) for one channel."""
    stream = io.BytesIO()
    last = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    np.save(stream, last[..., 0] if len(pixels) == 1 else last, allow_pickle=False)
    return stream.getvalue()


WRITERS: dict[str, Callable[[np.ndarray], bytes]] = {"png": png_bytes, "tiff": tiff_bytes, "npy": npy_bytes}
"""Encoders by the name of the format."""
