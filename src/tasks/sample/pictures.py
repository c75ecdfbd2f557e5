"""Pictures of a folder of samples: a grid, and a film of the way from the prior."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ...callbacks.pictures import grid, picture, save_film, save_picture
from ...data_range import to_bytes
from ...distributed import failing_together, gather_rows, on_rank_zero
from ...sampling.generation import GeneratedBatch
from .store import ImageStore

GRID_IMAGES = 64
PLOTTED_POINTS = 10_000
FILM_IMAGES = 16
FILM_FRAMES = 40


def draw_grid(path: Path, store: ImageStore, columns: int | None = None) -> None:
    """The first samples side by side, or all of them as points of the plane; nothing where there is no picture.

    Args:
        path: the PNG file.
        store: the samples.
        columns: images in a row; None for a square.
    """
    images = GRID_IMAGES - GRID_IMAGES % columns if columns and columns < GRID_IMAGES else GRID_IMAGES
    samples = store.read(store.valid_indices()[: images if store.is_image else PLOTTED_POINTS])
    image = grid(samples, columns) if columns and store.is_image and len(samples) else picture(samples)
    if image is not None:
        save_picture(path, image)


def film_count(store: ImageStore) -> int:
    """How many samples are in a film."""
    return min(store.manifest.num_samples, FILM_IMAGES if store.is_image else PLOTTED_POINTS)


def draw_film(
    path: Path, store: ImageStore, shape: tuple[int, ...], batches: Iterable[GeneratedBatch], data_range: str, mode: str
) -> None:
    """A GIF of trajectories; every process calls it with its share.

    Args:
        path: the file.
        store: the samples.
        shape: (*d) of a sample.
        batches: samples with ``FILM_FRAMES`` states each.
        data_range: of the model.
        mode: how floats become bytes.

    Raises:
        UserError: on every process, samples that one of them cannot make.
    """
    index, frames = [torch.empty(0, dtype=torch.int64)], []
    with failing_together():
        for batch in batches:
            assert batch.trajectory is not None
            states = batch.trajectory.transpose(0, 1)
            index.append(batch.index)
            frames.append(to_bytes(states, data_range, mode) if store.is_image else states)
    # A process without a share does not know how many there are.
    count = int(gather_rows(torch.tensor([frames[0].shape[1] if frames else 0])).max())
    order = gather_rows(torch.cat(index)).argsort()
    empty = torch.empty(0, count, *shape, dtype=torch.uint8 if store.is_image else torch.float32)
    states = gather_rows(torch.cat(frames) if frames else empty)[order]
    pictures = [picture(states[:, i]) for i in range(states.shape[1])]
    on_rank_zero(lambda: save_film(path, [p for p in pictures if p is not None]))
