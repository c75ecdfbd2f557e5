"""Pictures of images and points."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from src.errors import UserError
from src.sinks.pictures import grid, picture, save_film, save_picture, scatter


def test_small_images_are_magnified_exactly() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    made = grid(images)
    assert made.shape == (3, 2 * 66 + 2, 3 * 66 + 2)
    for i in range(5):
        top, left = 2 + 66 * (i // 3), 2 + 66 * (i % 3)
        cell = made[:, top : top + 64, left : left + 64]
        assert torch.equal(cell[:, ::8, ::8], images[i])
        assert torch.equal(cell[:, 7::8, 7::8], images[i])


def test_points_are_drawn_at_their_position() -> None:
    made = scatter(torch.tensor([[0.0, 0.0], [2.9, 2.9], [99.0, 0.0]]), reach=3.0, side=60)
    rows, columns = (made[0] == 0).nonzero().unbind(dim=1)
    assert {(29, 30), (0, 59)} <= set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert len(rows) == 9 + 4, "the second point is in the corner, the third outside"


@pytest.mark.parametrize("shape", [(2, 3), (0, 1, 8, 8), (2, 4, 4)])
def test_other_shapes_have_no_picture(shape: tuple[int, ...]) -> None:
    assert picture(torch.zeros(shape)) is None


def test_saved_png_and_gif(tmp_path: Path) -> None:
    frames = [torch.full((3, 4, 4), level, dtype=torch.uint8) for level in (0, 120, 255)]
    save_picture(tmp_path / "new" / "a.png", frames[1])
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.getpixel((2, 2)) == (120, 120, 120)
    save_film(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "new"]


def test_an_unwritable_path_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_picture(tmp_path / "file" / "a.png", torch.zeros(3, 2, 2, dtype=torch.uint8))


def test_extra_channels_are_not_shown() -> None:
    images = torch.arange(2 * 5 * 64 * 64, dtype=torch.int64).reshape(2, 5, 64, 64).remainder(251).to(torch.uint8)
    assert torch.equal(grid(images), grid(images[:, :3])) and torch.equal(grid(images[:, :2]), grid(images[:, :1]))
