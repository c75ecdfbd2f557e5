"""Findings about a data set before a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data_range import RANGES
from ..io.hashing import bytes_hash
from ..noise import permutation
from .base import ImageDataModule
from .toy import ToyDataModule

_SUBSET = 4000
_SUBSET_VALUES = 1 << 28
_IMBALANCE = 10


@dataclass
class Findings:
    """Findings about a data set.

    Args:
        facts: (name, value) pairs.
        warnings: one line each.
        shape: (*d) of a row.
        count: rows of the training split.
        classes: number of classes; 0 without labels.
        sigma_data: standard deviation in the range of the model.
        sigma_max: recommended largest noise level.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    count: int = 0
    classes: int = 0
    sigma_data: float = 0.0
    sigma_max: float = 0.0

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.facts)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts]
        return "\n".join([*lines, *([f"! {line}" for line in self.warnings] or ["no problem found"])])


def largest_distance(x: Tensor) -> float:
    """Return the largest Euclidean distance between two rows of (N, D): sigma_max of Song & Ermon 2020, technique 1."""
    x = x - x.mean(0)
    return max(float(torch.cdist(x[first : first + 500], x).max()) for first in range(0, len(x), 500))


def examine_images(datamodule: ImageDataModule) -> Findings:
    """Examine the training split of a prepared datamodule of images or vectors."""
    images, values = datamodule.images(datamodule.train_split), datamodule.values
    count, shape = len(images), images.shape[1:]
    moments = images.moments()
    low, high = RANGES[datamodule.data_range]
    scale = (high - low) / (values.high - values.low)
    std = scale * math.sqrt(float(moments.square.mean() - moments.mean.mean() ** 2))
    size = max(2, min(_SUBSET, _SUBSET_VALUES // math.prod(shape)))
    subset = images.gather(permutation(0, "doctor", 0, count)[:size].sort().values)
    distance = largest_distance(values.to_model(subset, datamodule.data_range).flatten(1))
    labels = images.labels
    sizes = torch.zeros(0) if labels is None else labels.bincount(minlength=datamodule.num_classes)
    classes = (
        f"{datamodule.num_classes}, {int(sizes.min())} to {int(sizes.max())} images each" if len(sizes) else "none"
    )
    stored = "bytes" if values.dtype == "uint8" else "values"
    depth = "" if values.dtype == "uint8" else f", taken as {values.name}"
    sigma_max = _round_up(distance)
    result = Findings(
        [
            ("training images", f"{count:,} of {' x '.join(map(str, shape))}"),
            ("classes", classes),
            (stored, f"{moments.low:g} to {moments.high:g}{depth}"),
            ("data_range", datamodule.data_range),
            ("channel means", " ".join(f"{value:.4f}" for value in datamodule.channel_mean)),
            ("sigma_data", f"{std:.4f}"),
            ("largest distance", f"{distance:.2f} among {len(subset):,} images"),
            ("recommended sigma_max", f"{sigma_max:g}"),
        ],
        shape=shape,
        count=count,
        classes=datamodule.num_classes if labels is not None else 0,
        sigma_data=std,
        sigma_max=sigma_max,
    )
    result.warnings += _duplicates_and_constants(datamodule)
    result.warnings += _about_classes(sizes, datamodule.class_names)
    middle = (values.low + values.high) / 2
    what = "byte" if values.dtype == "uint8" else "value"
    if values.levels is not None and moments.high < middle:
        result.warnings.append(f"the largest {what} is {moments.high:g}: the images look unscaled or very dark")
    if values.levels is not None and moments.low > middle:
        result.warnings.append(f"the smallest {what} is {moments.low:g}: the images look very bright")
    if len(shape) == 3 and shape[0] == 3 and _is_gray(datamodule):
        result.warnings.append("all three channels are equal: the images look gray, use channels=1")
    return result


def examine_points(datamodule: ToyDataModule) -> Findings:
    """Examine a toy distribution."""
    x = datamodule.sample(_SUBSET)
    distance = largest_distance(x)
    return Findings(
        [
            ("points", f"{datamodule.kind}, dimension {datamodule.dim}"),
            ("mean", " ".join(f"{value:.4f}" for value in x.mean(0).tolist())),
            ("sigma_data", f"{float(x.std()):.4f}"),
            ("largest distance", f"{distance:.2f} among {_SUBSET:,} points"),
            ("recommended sigma_max", f"{_round_up(distance):g}"),
        ]
    )


def _duplicates_and_constants(datamodule: ImageDataModule) -> list[str]:
    seen: dict[str, int] = {}
    repeated: list[tuple[int, int]] = []
    constant: list[int] = []
    number = 0
    for chunk in datamodule.images(datamodule.train_split).chunks():
        flat = chunk.flatten(1)
        constant += (number + (flat == flat[:, :1]).all(1).nonzero().flatten()).tolist()
        for row in flat.numpy():
            first = seen.setdefault(bytes_hash(row.data), number)
            if first != number:
                repeated.append((first, number))
            number += 1
    lines = []
    if repeated:
        pairs = ", ".join(f"{a}={b}" for a, b in repeated[:5])
        lines.append(f"{len(repeated)} image(s) repeat another one: {pairs}{', ...' if len(repeated) > 5 else ''}")
    if constant:
        numbers = ", ".join(map(str, constant[:5]))
        lines.append(f"{len(constant)} image(s) have one color only: {numbers}{', ...' if len(constant) > 5 else ''}")
    return lines


def _about_classes(sizes: Tensor, names: list[str]) -> list[str]:
    if len(sizes) < 2:
        return []
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    if sizes[largest] <= _IMBALANCE * sizes[smallest]:
        return []
    return [
        f"classes are unbalanced: {names[largest]} has {int(sizes[largest])} images, {names[smallest]} has "
        f"{int(sizes[smallest])}"
    ]


def _is_gray(datamodule: ImageDataModule) -> bool:
    chunks = datamodule.images(datamodule.train_split).chunks()
    return all(torch.equal(x[:, :1].expand_as(x), x) for x in chunks)


def _round_up(value: float) -> float:
    if value <= 0:
        return 0.0
    unit = float(10.0 ** (math.floor(math.log10(value)) - 1))
    return math.ceil(value / unit) * unit
