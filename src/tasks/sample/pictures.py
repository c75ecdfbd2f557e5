"""Pictures of a folder of samples: a grid, and an animation of the path from the prior."""

from __future__ import annotations

from pathlib import Path

from ...distributed import on_rank_zero
from ...sampling.generation import Generation
from ...sinks.collect import Collect
from ...sinks.pictures import grid, picture, save_film, save_picture
from ...sinks.store import SampleStore

GRID_IMAGES = 64
PLOTTED_POINTS = 10_000
FILM_IMAGES = 16
FILM_FRAMES = 40


def draw_grid(path: Path, store: SampleStore, columns: int | None = None) -> None:
    """Draw the first samples side by side, or all of them as points of the plane; return None for other data.

    Args:
        path: the PNG file.
        store: the samples.
        columns: images per row; None for a square grid.
    """
    images = GRID_IMAGES - GRID_IMAGES % columns if columns and columns < GRID_IMAGES else GRID_IMAGES
    samples = store.read(store.valid_indices()[: images if store.is_image else PLOTTED_POINTS])
    samples = store.values.to_bytes(samples) if store.is_image else samples
    image = grid(samples, columns) if columns and store.is_image and len(samples) else picture(samples)
    if image is not None:
        save_picture(path, image)


def draw_film(path: Path, store: SampleStore, generation: Generation) -> None:
    """Write a GIF of trajectories of the first samples; every process calls it.

    Raises:
        UserError: on every process, if one of them cannot generate its samples.
    """
    count = min(store.count, FILM_IMAGES if store.is_image else PLOTTED_POINTS)
    made = Collect(generation.shape)
    generation.run(range(count), [made], frames=FILM_FRAMES, task="sampling trajectories")
    pictures = [picture(states) for states in made.frames]
    on_rank_zero(lambda: save_film(path, [p for p in pictures if p is not None]))
