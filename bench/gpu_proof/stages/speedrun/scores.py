"""Scores of the speedrun's images, compared with test images and images of an untrained net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup
from bench.gpu_proof.stages.speedrun.train import SECTION
from bench.report import ROOT
from bench.rows import row

_CLASSES = 10


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Compute scores in the classifier's features (and Inception's, if its weights are given); draw two pictures."""

    def measure() -> None:
        with np.load(setup.npz) as file:
            train, test = (torch.from_numpy(file[f"{name}_images"]) for name in ("train", "test"))
        sets = {"samples": _samples(setup, commands.RUN), "test images": test}
        if (commands.samples(setup, commands.REHEARSAL) / "samples.npz").exists():
            sets["untrained net"] = _samples(setup, commands.REHEARSAL)
        suite = _suite("cifar_classifier", setup, setup.classifier)
        _score(suite, sets, train, setup, record_row)
        features, known = (_features(suite.extractor, images, setup) for images in (sets["samples"], train))
        _classes(suite.extractor, features, record_row)
        _grid(sets["samples"]).save(setup.out / "grid.png")
        _neighbors(sets["samples"], features, train, known).save(setup.out / "neighbors.png")
        if setup.inception is not None:
            _score(_suite("inception_full", setup, setup.inception), sets, train, setup, record_row)

    return measure


def _samples(setup: Setup, name: str) -> Tensor:
    """Return (N, C, H, W) uint8, in the order of the indices."""
    with np.load(commands.samples(setup, name) / "samples.npz") as file:
        return torch.from_numpy(file["samples"][np.argsort(file["index"])]).movedim(-1, 1).contiguous()


def _suite(name: str, setup: Setup, weights: Path) -> Any:
    config = OmegaConf.load(ROOT / "conf" / "metric" / f"{name}.yaml")
    config.extractor.weights_path = str(weights)
    config.cache_dir = str(setup.work / "statistics")
    if setup.small and "kid" in config.metrics:
        config.metrics.kid.subset_size = 20
    suite = instantiate(config, _convert_="all")
    suite.extractor.to(setup.device)
    return suite


def _score(suite: Any, sets: dict[str, Tensor], train: Tensor, setup: Setup, record_row: RecordRow) -> None:
    """Report the scores of every set."""
    batches = (part.to(setup.device) for part in torch.split(train, 1000))
    reference = suite.reference(batches, "as decoded", "the training split", setup.device)
    for name, images in sets.items():
        suite.reset()
        for part in torch.split(images, 1000):
            suite.update(part.to(setup.device))
        section = f"{SECTION}: against the {len(train):,} training images"
        record_row(row(section, name, float(len(images)), "images"))
        for metric, value in suite.compute(reference, quantization="round").values.items():
            record_row(row(section, f"{name}, {metric}", value, ""))


def _features(extractor: Any, images: Tensor, setup: Setup) -> Tensor:
    return torch.cat([extractor(part.to(setup.device)) for part in torch.split(images, 1000)])


def _classes(extractor: Any, features: Tensor, record_row: RecordRow) -> None:
    """Report how many samples have the requested class, and how evenly the classes occur."""
    with torch.no_grad():
        label = extractor.probabilities(features).argmax(1).cpu()
    asked = torch.arange(len(label)) % _CLASSES
    record_row(
        row(
            SECTION, "samples taken for the class that was asked for", 100 * float((label == asked).float().mean()), "%"
        )
    )
    shares = 100 * label.bincount(minlength=_CLASSES).double() / len(label)
    record_row(row(SECTION, "rarest class", float(shares.min()), "%"))
    record_row(row(SECTION, "most frequent class", float(shares.max()), "%"))


def _grid(images: Tensor, columns: int = 16) -> Image.Image:
    """Draw a row of samples per class."""
    lines = [images[label::_CLASSES][:columns] for label in range(_CLASSES)]
    return _picture([line for line in lines if len(line)])


def _neighbors(images: Tensor, features: Tensor, train: Tensor, known: Tensor, lines: int = 20) -> Image.Image:
    """Draw samples, each followed by its nearest training images in the features."""
    distances = torch.cdist(features[:lines], known)
    nearest = distances.topk(min(6, len(train)), largest=False).indices.cpu()
    return _picture([torch.cat([images[i : i + 1], train[row_]]) for i, row_ in enumerate(nearest)])


def _picture(lines: list[Tensor], gap: int = 1, scale: int = 2) -> Image.Image:
    """Draw the images of each line side by side, on white."""
    _, channels, height, width = lines[0].shape
    columns = max(map(len, lines))
    canvas = torch.full((channels, len(lines) * (height + gap), columns * (width + gap)), 255, dtype=torch.uint8)
    for i, line in enumerate(lines):
        for j, image in enumerate(line):
            top, left = i * (height + gap), j * (width + gap)
            canvas[:, top : top + height, left : left + width] = image
    array = canvas.movedim(0, -1).numpy()
    picture = Image.fromarray(array[..., 0] if channels == 1 else array)
    return picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
