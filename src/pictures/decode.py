"""Decode the bytes of a picture file to an array (C, H, W) of its own depth. Without torch if 8 bits suffice."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..io.untrusted import unpack_refusal
from . import tiff

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
"""Endings of picture files."""

MAX_FILE = 1 << 31
"""Maximum size of one picture file; larger ones are refused before memory is allocated."""

MAX_PIXELS = 1 << 28
"""Maximum number of pixels of one picture; larger ones are refused before memory is allocated."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PIL_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_LUMA = np.array([0.299, 0.587, 0.114])
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """An opened picture file whose pixels are not decoded yet.

    Attributes:
        height: pixels.
        width: pixels.
        channels: 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGB and alpha); more for TIFF pages with more.
        dtype: ``uint8``, ``uint16``, ``float16`` or ``float32``, as stored.
        pages: pages of a TIFF file; 1 for all others, of which only the first frame is read.
        frames: frames of an animation.
    """

    height: int
    width: int
    channels: int
    dtype: str
    pages: int
    frames: int
    _content: bytes
    _tiff: tuple[tiff.Page, ...]

    def pixels(self, channels: int | None = None, page: int = 0) -> np.ndarray:
        """Return upright pixels (C, H, W) of ``dtype``.

        Palettes are resolved. Colors become RGB, or gray (ITU-R 601 luma). If ``channels`` has no alpha, the picture is
        put on white. Values keep their depth.

        Args:
            channels: C, 1 to 4; None for the channels of the file.
            page: number of the page.

        Raises:
            ValueError: the pixels have an unsupported format, or the file is damaged.
            OSError: the file is damaged.
        """
        if self.dtype == "uint8":
            return self._bytes(channels or self.channels, page)
        return _with_channels(self._deep(page), channels or self.channels)

    def _bytes(self, channels: int, page: int) -> np.ndarray:
        with _opened(self._content) as image:
            if page:
                image.seek(page)
            return byte_pixels(image, channels)

    def _deep(self, page: int) -> np.ndarray:
        """Pixels (C, H, W) of a picture with more than 8 bits."""
        if self._content.startswith(_PNG) and self.channels > 1:
            # Pillow reduces these to 8 bits.
            import torch
            from torchvision.io import ImageReadMode, decode_png

            data = torch.frombuffer(bytearray(self._content), dtype=torch.uint8)
            return _turned(decode_png(data, ImageReadMode.UNCHANGED).numpy(), _exif_orientation(self._content))
        if self._tiff and _is_read_here(self._tiff[page]):
            read = self._tiff[page]
            return _turned(read.pixels(self._content).transpose(2, 0, 1), read.orientation)
        from PIL import ImageOps

        with _opened(self._content) as image:
            if page:
                image.seek(page)
            ImageOps.exif_transpose(image, in_place=True)
            values = np.asarray(image)
        if values.dtype.kind == "f":
            return values.astype(np.float32)[None]
        # 32-bit and big-endian containers store the same 16 bits.
        whole = values.astype(np.int64)
        if whole.min(initial=0) < 0 or whole.max(initial=0) > 65535:
            raise ValueError("gray values exceed 16 bits: convert to uint16 or float32")
        return whole.astype(np.uint16)[None]


def byte_pixels(image: Image, channels: int) -> np.ndarray:
    """Upright pixels (C, H, W) uint8 of an image that Pillow has opened; see ``Picture.pixels``.

    Raises:
        ValueError: pictures do not have this number of channels.
    """
    from PIL import Image, ImageOps

    if channels not in _PIL_MODES:
        raise ValueError(f"{len(image.getbands())} channels in the file, {channels} wanted")
    # The tag is not read for a small JPEG without EXIF data: this takes as long as decoding it.
    if image.format != "JPEG" or "exif" in image.info or "xmp" in image.info:
        ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data and channels in (1, 3):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = _PIL_MODES[channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def open_picture(content: bytes) -> Picture:
    """Read the header of a picture file.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: not a picture, more than ``MAX_PIXELS`` pixels, or a kind of pixels that cannot be read.
    """
    if not content:
        raise ValueError("empty file")
    found = tiff.pages(content)
    if found and _is_read_here(found[0]):
        height, width, channels = found[0].shape
        if found[0].orientation >= 5:
            height, width = width, height
        return _checked(Picture(height, width, channels, found[0].dtype, len(found), 1, content, tuple(found)))
    with _opened(content) as image:
        width, height = image.size
        # Reading the tag may decode the picture.
        _check_size(height, width, len(image.getbands()), content)
        # Pillow's plugin for TIFF rotates pages itself.
        if image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        # Pillow declares it only for formats with several frames.
        frames = getattr(image, "n_frames", 1)
        pages = frames if image.format == "TIFF" else 1
        dtype, channels = _kind(content, image)
        if found and dtype != "uint8" and channels > 1:
            raise ValueError(
                f"{found[0].bits}-bit colors with compression or in tiles are not supported: save the file "
                "uncompressed, or as PNG or npy"
            )
    if found is not None and len(found) > 1 and len({(page.bits, page.shape[2]) for page in found}) > 1:
        raise ValueError("pages have different kinds of pixels: save them as files")
    return _checked(Picture(height, width, channels, dtype, pages, frames, content, tuple(found or ())))


def _is_read_here(page: tiff.Page) -> bool:
    """Whether Pillow would cut the values, or not open the page at all, and its layout is a plain one."""
    multiple = page.shape[2] > 1 and page.bits > 8
    if not (multiple or page.bits == 64):
        return False
    _ = page.dtype
    return page.first(259, 1) in (1, 8, 32946) and 322 not in page.tags


def _kind(content: bytes, image: Image) -> tuple[str, int]:
    """dtype and channels of an image that Pillow has opened."""
    if content.startswith(_PNG):
        bits, color = struct.unpack_from("BB", content, 24)
        if bits == 16:
            return "uint16", _PNG_CHANNELS[color]
    if image.mode == "F":
        return "float32", 1
    if image.mode.startswith("I"):
        return "uint16", 1
    # Only Pillow's plugin for TIFF has tags.
    bits_of_tiff = max(image.tag_v2.get(258, (8,))) if image.format == "TIFF" else 8  # type: ignore[attr-defined]
    gray = image.mode in ("1", "L", "LA", "La")
    channels = (1 if gray else 3) + bool(image.has_transparency_data)
    return ("uint16" if bits_of_tiff > 8 else "uint8"), channels


def _checked(picture: Picture) -> Picture:
    values = picture.channels * np.dtype(picture.dtype).itemsize
    _check_size(picture.height, picture.width, values, picture._content)
    if min(picture.height, picture.width, picture.channels) < 1:
        raise ValueError("no pixels")
    return picture


def _check_size(height: int, width: int, values: int, content: bytes) -> None:
    """Raise ValueError if there are more pixels, of ``values`` bytes each, than a normal picture has."""
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are more than the limit of {MAX_PIXELS:,}")
    if why := unpack_refusal(height * width * values, len(content)):
        raise ValueError(f"it {why}")


def _opened(content: bytes) -> Image:
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # The limit is checked by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise ValueError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ValueError("more pixels than the limit, the file may be a decompression bomb") from error


def _exif_orientation(content: bytes) -> int:
    with _opened(content) as image:
        return int(image.getexif().get(_ORIENTATION, 1))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate pixels (C, H, W) upright, by the EXIF orientation 1 to 8."""
    turns = {
        2: lambda p: p[:, :, ::-1],
        3: lambda p: p[:, ::-1, ::-1],
        4: lambda p: p[:, ::-1],
        5: lambda p: p.transpose(0, 2, 1),
        6: lambda p: p.transpose(0, 2, 1)[:, :, ::-1],
        7: lambda p: p.transpose(0, 2, 1)[:, ::-1, ::-1],
        8: lambda p: p.transpose(0, 2, 1)[:, ::-1],
    }
    return np.ascontiguousarray(turns[orientation](pixels)) if orientation in turns else pixels


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Convert deep pixels (C, H, W) to another number of channels: alpha on white, gray to RGB or back."""
    count = len(pixels)
    if count == channels:
        return pixels
    if max(count, channels) > 4:
        raise ValueError(f"{count} channels in the file, {channels} wanted")
    dtype = pixels.dtype
    white = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    values = pixels.astype(np.float64)
    color, alpha = (values[:-1], values[-1:] / white) if count in (2, 4) else (values, np.ones_like(values[:1]))
    if channels in (1, 3):
        color = color * alpha + white * (1 - alpha)
    if channels <= 2 and len(color) == 3:
        color = np.tensordot(_LUMA, color, 1)[None]
    elif channels >= 3 and len(color) == 1:
        color = np.repeat(color, 3, 0)
    made = color if channels in (1, 3) else np.concatenate([color, alpha * white])
    return made.astype(dtype) if dtype.kind == "f" else np.rint(made).astype(dtype)
