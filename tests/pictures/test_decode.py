import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from src.pictures import decode, fit_picture, open_picture, png_bytes, tiff_bytes
from src.pictures.resize import covering_size

RNG = np.random.default_rng(0)


def deep(channels, dtype=np.uint16, size=(5, 7)):
    values = RNG.integers(0, 65536, (channels, *size)).astype(np.uint16)
    return values if dtype == np.uint16 else (values / 7 - 1000).astype(dtype)


def saved(image, suffix="png", **options):
    stream = io.BytesIO()
    image.save(stream, format=suffix, **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_every_value(channels):
    pixels = deep(channels)
    picture = open_picture(png_bytes(pixels))
    assert (picture.dtype, picture.channels, picture.height, picture.width) == ("uint16", channels, 5, 7)
    assert np.array_equal(picture.pixels(), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_tiff_keeps_every_value(channels, dtype):
    if dtype == np.uint8 and channels not in (1, 3):
        pytest.skip("Pillow reads these pages and interprets alpha")
    pixels = deep(channels, dtype) if dtype != np.uint8 else RNG.integers(0, 256, (channels, 5, 7)).astype(np.uint8)
    picture = open_picture(tiff_bytes(pixels))
    assert (picture.dtype, picture.channels) == (np.dtype(dtype).name, channels)
    assert np.array_equal(picture.pixels(), pixels)


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_every_page_of_a_stack_is_read(mode):
    pages = [deep(1)[0] if mode == "I;16" else deep(1, np.float32)[0] for _ in range(4)]
    first, *rest = [Image.fromarray(page) for page in pages]
    picture = open_picture(saved(first, "tiff", save_all=True, append_images=rest))
    assert picture.pages == 4 and picture.dtype == ("uint16" if mode == "I;16" else "float32")
    assert all(np.array_equal(picture.pixels(page=i)[0], page) for i, page in enumerate(pages))


def tiff_with(pixels, **changed):
    """Return a 16-bit TIFF page with deflate compression and a difference predictor."""
    last = pixels.transpose(1, 2, 0)
    data = np.diff(last, axis=1, prepend=np.zeros_like(last[:, :1])).astype("<u2").tobytes()
    packed = zlib.compress(data)
    plain = tiff_bytes(pixels)
    start = struct.unpack_from("<I", plain, 4)[0]
    entries = struct.unpack_from("<H", plain, start)[0]
    directory = bytearray(plain[start:])
    moved = 8 + len(packed) + len(packed) % 2
    for i in range(entries):
        at = 2 + 12 * i
        tag, kind, count = struct.unpack_from("<HHI", directory, at)
        if count * (2 if kind == 3 else 4) > 4:
            struct.pack_into("<I", directory, at + 8, struct.unpack_from("<I", directory, at + 8)[0] - start + moved)
        if tag == 259:
            struct.pack_into("<H", directory, at + 8, changed.get("compression", 8))
        if tag == 279:
            struct.pack_into("<I", directory, at + 8, len(packed))
        if tag == 284:
            struct.pack_into("<HHIH", directory, at, 317, 3, 1, 2)
    return b"II*\0" + struct.pack("<I", moved) + packed.ljust(moved - 8, b"\0") + bytes(directory)


def test_deflate_with_predictor_is_decoded_and_other_compressions_refused():
    pixels = deep(3)
    assert np.array_equal(open_picture(tiff_with(pixels)).pixels(), pixels)
    with pytest.raises(ValueError, match=r"not supported|not an image|compression"):
        open_picture(tiff_with(pixels, compression=5)).pixels()


# Every orientation for one kind per decoder; the other kinds store the tag elsewhere.
@pytest.mark.parametrize(
    ("orientation", "kind"),
    [(turn, kind) for turn in range(1, 9) for kind in ("jpeg", "tiff16")]
    + [(turn, kind) for turn in (1, 6) for kind in ("png", "png16", "tiff")],
)
def test_orientation_tags_are_applied(orientation, kind):
    # A gray ramp in both directions distinguishes all orientations.
    upright = (np.add.outer(np.arange(16) * 8, np.arange(8) * 16)).astype(np.uint8)[None]
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, :, ::-1],
        3: lambda p: p[:, ::-1, ::-1],
        4: lambda p: p[:, ::-1],
        5: lambda p: p.transpose(0, 2, 1),
        6: lambda p: p.transpose(0, 2, 1)[:, ::-1],
        7: lambda p: p.transpose(0, 2, 1)[:, ::-1, ::-1],
        8: lambda p: p.transpose(0, 2, 1)[:, :, ::-1],
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "png16":
        rgb = np.repeat(stored.astype(np.uint16) * 257, 3, 0)
        chunk = exif.tobytes().removeprefix(b"Exif\0\0")
        made = png_bytes(rgb)
        extra = struct.pack(">I", len(chunk)) + b"eXIf" + chunk + struct.pack(">I", zlib.crc32(b"eXIf" + chunk))
        content, factor = made[:33] + extra + made[33:], 257
    elif kind == "tiff16":
        content, factor = (
            saved(Image.fromarray(stored[0].astype(np.uint16) * 257), "tiff", tiffinfo={274: orientation}),
            257,
        )
    elif kind == "tiff":
        content, factor = saved(Image.fromarray(stored[0]), "tiff", tiffinfo={274: orientation}), 1
    else:
        content, factor = (
            saved(Image.fromarray(stored[0]), kind, exif=exif, **({"quality": 100} if kind == "jpeg" else {})),
            1,
        )
    picture = open_picture(content)
    pixels = picture.pixels(channels=1)
    assert pixels.shape == (1, 16, 8) == (1, picture.height, picture.width)
    assert np.abs(pixels.astype(int) - upright.astype(int) * factor).max() <= 3 * factor


def test_alpha_is_blended_over_white_or_kept():
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
        pixels = np.zeros((4, 2, 2), dtype)
        pixels[3] = round(full / 5)
        content = png_bytes(pixels)
        assert set(open_picture(content).pixels(3).ravel().tolist()) == {round(full * 0.8)}
        assert np.array_equal(open_picture(content).pixels(4), pixels)
        assert open_picture(content).pixels(1).shape == (1, 2, 2)


def test_too_many_pixels_are_refused_from_the_header():
    header = png_bytes(np.zeros((1, 1, 1), np.uint16))
    huge = header[:16] + struct.pack(">II", 100_000, 100_000) + header[24:29]
    huge += struct.pack(">I", zlib.crc32(huge[12:29])) + header[33:]
    with pytest.raises(ValueError, match="limit"):
        open_picture(huge)
    assert decode.MAX_PIXELS < 100_000**2


@pytest.mark.parametrize("content", [b"", b"text", b"II*\0\xff\xff\xff\xff", png_bytes(deep(3))[:150]])
def test_invalid_content_raises(content):
    with pytest.raises((ValueError, OSError, RuntimeError)):
        open_picture(content).pixels()


def test_a_loop_of_tiff_pages_is_refused():
    made = bytearray(tiff_bytes(deep(3)))
    start = struct.unpack_from("<I", made, 4)[0]
    entries = struct.unpack_from("<H", made, start)[0]
    struct.pack_into("<I", made, start + 2 + 12 * entries, start)
    with pytest.raises(ValueError, match="loop"):
        open_picture(bytes(made))


def test_resizing_keeps_dtype_and_constant_images():
    for dtype in (np.uint8, np.uint16, np.float32, np.float16):
        pixels = (RNG.random((2, 9, 30)) * (200 if dtype != np.uint16 else 60000)).astype(dtype)
        made = fit_picture(pixels, (6, 12))
        assert made.dtype == dtype and made.shape == (2, 6, 12)
    assert covering_size((48, 16), (16, 16)) == (48, 16) and covering_size((10, 10), (4, 8)) == (8, 8)
    constant = np.full((1, 31, 17), 40_000, np.uint16)
    assert (fit_picture(constant, (8, 8)) == 40_000).all()
    assert np.array_equal(fit_picture(constant[:, :16, :8], (16, 8)), constant[:, :16, :8])
