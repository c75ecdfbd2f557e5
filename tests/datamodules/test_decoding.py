import numpy as np
import pytest
from PIL import Image, ImageCms

from src.datamodules.decoding import to_bytes


def solid(mode, colour, size=(4, 4)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (solid("RGB", (10, 20, 30)), (10, 20, 30)),
        (solid("L", 77), (77, 77, 77)),
        (solid("1", 1), (255, 255, 255)),
        (solid("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (solid("RGBA", (200, 0, 100, 255)), (200, 0, 100)),
        (solid("RGBA", (200, 0, 100, 0)), (255, 255, 255)),
        (solid("RGBA", (0, 0, 0, 51)), (204, 204, 204)),
        (solid("LA", (0, 51)), (204, 204, 204)),
        (solid("I;16", 65535), (255, 255, 255)),
        (solid("I;16", 257 * 40), (40, 40, 40)),
        (solid("I;16B", 257 * 40), (40, 40, 40)),
        (solid("I", 257 * 40), (40, 40, 40)),
    ],
)
def test_every_kind_of_pixels_becomes_rgb(image, expected):
    pixels = to_bytes(image, 4, 3)
    assert pixels.dtype == np.uint8 and pixels.shape == (3, 4, 4)
    assert pixels[:, 1, 2].tolist() == list(expected) and pixels[:, 0, 0].tolist() == list(expected)


def test_a_palette_with_a_transparent_colour_lies_over_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.putpixel((0, 0), 0)
    image.info["transparency"] = 0
    pixels = to_bytes(image, 4, 3)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255] and pixels[:, 1, 1].tolist() == [9, 8, 7]


def test_pixels_without_a_known_scale_are_refused():
    with pytest.raises(ValueError, match="32-bit floats"):
        to_bytes(solid("F", 0.5), 4, 3)
    with pytest.raises(ValueError, match="16 bits"):
        to_bytes(solid("I", 70000), 4, 3)


def test_the_layout_is_channels_rows_columns():
    image = Image.fromarray(np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3))
    assert to_bytes(image, 4, 3).tolist() == np.arange(48).reshape(4, 4, 3).transpose(2, 0, 1).tolist()
    assert to_bytes(solid("RGB", (255, 0, 0)), 4, 1)[0, 0, 0] == 76


@pytest.mark.parametrize("turned", [False, True])
def test_the_shorter_side_is_resized_and_the_centre_kept(turned):
    # Three squares side by side; the middle one is what must remain.
    strip = np.repeat(np.repeat(np.array([[10, 200, 90]], np.uint8), 8, 0), 8, 1)
    strip = np.pad(strip, ((0, 0), (8, 8)), constant_values=0)
    pixels = to_bytes(Image.fromarray(strip.T.copy() if turned else strip), 4, 1)[0]
    assert pixels.shape == (4, 4) and abs(pixels[1:3, 1:3].astype(int) - 200).max() <= 3


def test_shrinking_is_antialiased():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = to_bytes(Image.fromarray(board), 8, 1).astype(int)
    assert abs(pixels - 127.5).max() < 3


def test_crop_comes_before_the_border_and_the_border_before_resizing():
    image = np.zeros((10, 10), np.uint8)
    image[3:7, 3:7] = 100
    assert (to_bytes(Image.fromarray(image), 4, 1, crop=4) == 100).all()
    padded = to_bytes(Image.fromarray(image), 6, 1, crop=4, pad=1)[0]
    assert (padded[1:5, 1:5] == 100).all() and padded.sum() == 1600
    with pytest.raises(ValueError, match="10x10 pixels are fewer than the crop of 12"):
        to_bytes(Image.fromarray(image), 4, 1, crop=12)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_turned_upright(tmp_path, suffix):
    image = Image.new("L", (16, 8), 0)
    image.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        pixels = to_bytes(opened, 8, 1)[0].astype(int)
    # Orientation 6 is turned clockwise: the white left half comes to the top.
    assert (pixels[:3] > 245).all() and (pixels[5:] < 10).all()


def test_lab_is_refused_or_converted_but_not_misread():
    lab = ImageCms.applyTransform(
        solid("RGB", (255, 0, 0)),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    try:
        red = to_bytes(lab, 4, 3)[:, 0, 0]
    except ValueError as error:
        assert "LAB" in str(error)
    else:
        assert red[0] > 240 and red[1] < 15
