from bench import gallery
from bench.report import ROOT


def test_sections_with_given_data_are_found() -> None:
    found = gallery.sections((ROOT / gallery.PAGE).read_text())
    assert {title: picture for title, (_, picture) in found.items()} == {
        "Inpainting": "images/inpainting.png",
        "Super-resolution": "images/super_resolution.png",
        "Colorization": "images/colorization.png",
    }
    assert all("given_count=12" in arguments and "python" not in arguments for arguments, _ in found.values())
