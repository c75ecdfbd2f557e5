"""From any picture to bytes of one shape. Free of torch, because decoding workers import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = npt.NDArray[np.uint8]


def to_bytes(image: Image, image_size: int, channels: int, crop: int | None = None, pad: int = 0) -> Bytes:
    """An opened picture as uint8 (channels, image_size, image_size).

    In this order: the first frame; upright by its EXIF tag; 16 bits scaled to 8; transparency laid over white; RGB or
    grey; a centre crop to ``crop`` pixels; a border of ``pad`` black pixels; the shorter side resized to
    ``image_size`` (bicubic, antialiased); a centre crop to a square.

    Args:
        image: the picture.
        image_size: height and width of the result.
        channels: 1 (grey) or 3 (RGB).
        crop: size of the first centre crop; None for none.
        pad: width of the border.

    Raises:
        ValueError: if the picture's kind of pixels has no bytes, or it is smaller than ``crop``.
    """
    from PIL import Image, ImageOps

    # Looking for the tag takes as long as decoding a small JPEG, which says by itself that it has none.
    if image.format != "JPEG" or "exif" in image.info or "xmp" in image.info:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        image = _sixteen_to_eight(image)
    elif image.mode == "F":
        raise ValueError("pixels are 32-bit floats")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if crop is not None:
        if min(image.size) < crop:
            raise ValueError(f"{image.width}x{image.height} pixels are fewer than the crop of {crop}")
        image = _centre_crop(image, crop)
    if pad:
        image = ImageOps.expand(image, pad, fill=0)
    shorter = min(image.size)
    if shorter != image_size:
        width, height = (max(image_size, round(side * image_size / shorter)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels: Bytes = np.asarray(_centre_crop(image, image_size))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _centre_crop(image: Image, size: int) -> Image:
    if image.size == (size, size):
        return image
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _sixteen_to_eight(image: Image) -> Image:
    from PIL import Image

    # Big-endian and 32-bit containers hold the same 16 bits; Pillow's own conversion would clip them at 255.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("grey values exceed 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
