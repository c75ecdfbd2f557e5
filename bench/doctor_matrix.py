"""``python -m bench.doctor_matrix``: does ``evaluate.py mode=doctor`` find a known fault in images?

Images are 8 x 8 color patches of two photographs with pixels as features. Each row of the matrix is a fault, planted in
new images in every trial; each column is a family that the doctor may name. Writes ``docs/doctor_matrix.json`` and
``docs/images/doctor_matrix.png``.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from src.datamodules.photos import PhotosDataModule
from src.io.atomic import replacing, write_json
from src.metrics import PixelFeatures
from src.tasks.evaluate.doctor.changes import add_half, jpeg, mirror_half, resize, stretch, swap_channels
from src.tasks.evaluate.doctor.examination import Examination, Examiner, Images
from src.tasks.evaluate.doctor.verdict import FAMILIES, named

_log = logging.getLogger(__name__)

RESULTS, PICTURE = Path("docs/doctor_matrix.json"), Path("docs/images/doctor_matrix.png")
SIDE, REFERENCE, SAMPLES = 8, 1200, 1200


@cache
def patches() -> tuple[Tensor, Tensor]:
    """Return patches (N, 3, 8, 8) uint8 and their classes.

    All have the same mean brightness, so that a shift of half a level is visible, and are brighter on the left, so that
    mirrored patches differ.
    """
    images = PhotosDataModule(image_size=SIDE).images("train")
    x = images.gather(torch.arange(len(images))).float()
    x = x - x.mean((1, 2, 3), keepdim=True) + 128 + torch.linspace(10, -10, SIDE)
    assert images.labels is not None
    return x.round().clamp(0, 255).to(torch.uint8), images.labels


def images_of(x: Tensor, labels: Tensor | None = None) -> Images:
    """Return a source of images in memory."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.split(torch.arange(len(x)), 500):
            yield x[index], index

    return Images(len(x), batches, labels)


def truncated(x: Tensor, index: Tensor) -> Tensor:
    """Return bytes as truncated from floats whose nearest bytes are ``x``."""
    return add_half(x, index + 10**6, -1)


PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "[0, 1] read as [-1, 1]": partial(stretch, low=-255, high=255),
    "[-1, 1] clipped as [0, 1]": partial(stretch, low=127.5, high=255),
    "channels swapped": swap_channels,
    "truncated": truncated,
    "JPEG quality 75": partial(jpeg, quality=75),
    "JPEG quality 90": partial(jpeg, quality=90),
    "half size and back": partial(resize, mode="bilinear"),
    "half of them mirrored": mirror_half,
}
"""Faults of single images."""

FAULTS = {
    "none": "samples",
    "few samples": "samples",
    "[0, 1] read as [-1, 1]": "range",
    "[-1, 1] clipped as [0, 1]": "range",
    "channels swapped": "channels",
    "truncated": "quantize",
    "JPEG quality 75": "jpeg",
    "JPEG quality 90": "jpeg",
    "half size and back": "resize",
    "half of them mirrored": "flips",
    "another split": "split",
    "classes 9 to 1": "classes",
    "raw weights": "weights",
    "no denoising": "denoise",
}
"""Every fault with the family that the doctor should name."""


def pale(x: Tensor) -> Tensor:
    """Reduce the contrast to three quarters, as an example of a different split."""
    return (128 + 0.75 * (x.float() - 128)).round().to(torch.uint8)


def noisy(x: Tensor, generator: torch.Generator, std: float) -> Tensor:
    """Add noise, as in samples of raw weights or before the last denoising step."""
    return (x + std * torch.randn(x.shape, generator=generator)).round().clamp(0, 255).to(torch.uint8)


def examined(fault: str, seed: int, samples: int = SAMPLES, reference: int = REFERENCE) -> Examination:
    """Return the doctor's result for new images with a fault."""
    generator = torch.Generator().manual_seed(seed)
    x, labels = patches()
    order = torch.randperm(len(x), generator=generator)
    kept, rest = order[:reference], order[reference:]
    chosen = rest[: samples // 8 if fault == "few samples" else samples]
    if fault == "classes 9 to 1":
        first, second = (rest[labels[rest] == c] for c in (0, 1))
        chosen = torch.cat([first[: samples * 9 // 10], second[: samples // 10]])
    images = pale(x[chosen]) if fault == "another split" else x[chosen]
    if fault in PIXELS:
        images = PIXELS[fault](images, torch.arange(len(images)))
    shown, raw, early = images, noisy(images, generator, 12), noisy(images, generator, 6)
    shown = {"raw weights": raw, "no denoising": early}.get(fault, images)
    others = {
        "weights": {"averaged weights": images_of(images if fault == "raw weights" else raw)},
        "denoise": {"with the last denoising step": images_of(images if fault == "no denoising" else early)},
    }
    splits = {
        "train": images_of(x[kept], labels[kept]),
        "test": images_of(pale(x[rest[-reference:]])),
    }
    return Examiner(PixelFeatures((3, SIDE, SIDE)), images_of(shown), splits, "train", samples=others).run()


def draw(path: Path, counts: dict[str, dict[str, int]], trials: int) -> None:
    """Draw the matrix: one row per fault, one column per family."""
    from matplotlib.figure import Figure

    families = [*FAMILIES, "none"]
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.subplots()
    shares = [[100 * counts[fault].get(family, 0) / trials for family in families] for fault in counts]
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=120, aspect="auto")
    for i, (fault, row) in enumerate(zip(counts, shares, strict=True)):
        for j, share in enumerate(row):
            right = families[j] == FAULTS[fault]
            if share or right:
                axes.text(j, i, f"{share:.0f}", ha="center", va="center", color="black" if right else "C3", fontsize=9)
    axes.set_xticks(range(len(families)), families, rotation=40, ha="right")
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set(xlabel="the doctor names", ylabel="planted", title=f"percent of {trials} trials")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> None:
    """Run the study."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m bench.doctor_matrix", description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    trials = parser.parse_args().trials
    start = time.monotonic()
    counts: dict[str, dict[str, int]] = {fault: {} for fault in FAULTS}
    command = f"python -m bench.doctor_matrix --trials {trials}"
    for seed in range(trials):
        for fault, row in counts.items():
            family = named(examined(fault, seed))
            row[family] = row.get(family, 0) + 1
            _log.info("%-28s %s", fault, row)
        write_json(RESULTS, {"command": command, "trials": seed + 1, "expected": FAULTS, "named": counts})
        draw(PICTURE, counts, seed + 1)
    _log.info("%.0f s: %s and %s", time.monotonic() - start, RESULTS, PICTURE)


if __name__ == "__main__":
    main()
