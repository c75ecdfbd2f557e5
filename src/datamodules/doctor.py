"""Looks at a data set before it costs a training run: ``python -m src.datamodules.doctor datamodule=digits``."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..build import build
from ..config_dir import CONFIG_DIR
from ..data_range import from_bytes
from ..errors import UserError
from ..noise import permutation

if TYPE_CHECKING:
    from .base import ImageDataModule
    from .toy import ToyDataModule

_SUBSET = 4000
_SUBSET_VALUES = 1 << 28


@dataclass
class Diagnosis:
    """What the doctor found.

    Args:
        facts: (name, value) pairs.
        warnings: one line each.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.facts)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts]
        return "\n".join([*lines, *(f"! {line}" for line in self.warnings or ["nothing wrong found"])])


def largest_distance(x: Tensor) -> float:
    """The largest Euclidean distance between two rows of (N, D): the sigma_max of Song & Ermon 2020, technique 1."""
    x = x - x.mean(0)
    return max(float(torch.cdist(x[first : first + 500], x).max()) for first in range(0, len(x), 500))


def examine_images(datamodule: ImageDataModule) -> Diagnosis:
    """Examines the training split of an image datamodule that has been set up."""
    images = datamodule.images(datamodule.train_split)
    count = len(images)
    counts = images.byte_counts()
    low, high = (int(counts.sum(0).nonzero()[i]) for i in (0, -1))
    values = from_bytes(torch.arange(256, dtype=torch.uint8), datamodule.data_range).double()
    weights = counts.sum(0).double() / counts.sum()
    mean = float(weights @ values)
    std = math.sqrt(float(weights @ (values - mean) ** 2))
    c, h, w = images.shape[1:]
    size = max(2, min(_SUBSET, _SUBSET_VALUES // (c * h * w)))
    subset = images.gather(permutation(0, "doctor", 0, count)[:size].sort().values)
    distance = largest_distance(from_bytes(subset, datamodule.data_range).flatten(1))
    labels = images.labels
    classes = "none" if labels is None else f"{datamodule.num_classes}, {_smallest_and_largest(labels)}"
    result = Diagnosis(
        [
            ("training images", f"{count:,} of {c} x {h} x {w}"),
            ("classes", classes),
            ("bytes", f"{low} to {high}"),
            ("data_range", datamodule.data_range),
            ("channel means", " ".join(f"{value:.4f}" for value in datamodule.channel_mean)),
            ("sigma_data", f"{std:.4f}"),
            ("largest distance", f"{distance:.2f} among {len(subset):,} images"),
            ("recommended sigma_max", f"{_two_digits_up(distance):g}"),
        ]
    )
    result.warnings += _duplicates_and_constants(datamodule)
    if high < 128:
        result.warnings.append(f"the largest byte is {high}: the images look unscaled or very dark")
    if low > 127:
        result.warnings.append(f"the smallest byte is {low}: the images look very bright")
    if c == 3 and all(torch.equal(counts[0], counts[i]) for i in (1, 2)):
        result.warnings.append("all three channels have the same histogram: the images look grey, use channels=1")
    if h != w:
        result.warnings.append(f"the images are {h}x{w}: nets expect squares")
    return result


def examine_points(datamodule: ToyDataModule) -> Diagnosis:
    """Examines a toy distribution."""
    x = datamodule.sample(_SUBSET)
    distance = largest_distance(x)
    return Diagnosis(
        [
            ("points", f"{datamodule.kind}, dimension {datamodule.dim}"),
            ("mean", " ".join(f"{value:.4f}" for value in x.mean(0).tolist())),
            ("sigma_data", f"{float(x.std()):.4f}"),
            ("largest distance", f"{distance:.2f} among {_SUBSET:,} points"),
            ("recommended sigma_max", f"{_two_digits_up(distance):g}"),
        ]
    )


def _duplicates_and_constants(datamodule: ImageDataModule) -> list[str]:
    seen: dict[bytes, int] = {}
    repeated: list[tuple[int, int]] = []
    constant: list[int] = []
    number = 0
    for chunk in datamodule.images(datamodule.train_split).chunks():
        flat = chunk.flatten(1)
        constant += (number + (flat == flat[:, :1]).all(1).nonzero().flatten()).tolist()
        for row in flat.numpy():
            digest = hashlib.blake2b(row.data, digest_size=16).digest()
            first = seen.setdefault(digest, number)
            if first != number:
                repeated.append((first, number))
            number += 1
    lines = []
    if repeated:
        pairs = ", ".join(f"{a}={b}" for a, b in repeated[:5])
        lines.append(f"{len(repeated)} image(s) repeat another one: {pairs}{', ...' if len(repeated) > 5 else ''}")
    if constant:
        numbers = ", ".join(map(str, constant[:5]))
        lines.append(f"{len(constant)} image(s) have one colour only: {numbers}{', ...' if len(constant) > 5 else ''}")
    return lines


def _smallest_and_largest(labels: Tensor) -> str:
    sizes = labels.bincount()
    return f"{int(sizes.min())} to {int(sizes.max())} images each"


def _two_digits_up(value: float) -> float:
    if value <= 0:
        return 0.0
    unit = float(10.0 ** (math.floor(math.log10(value)) - 1))
    return math.ceil(value / unit) * unit


def compose_datamodule(overrides: Sequence[str]) -> Any:
    """The datamodule that overrides such as ``datamodule=digits datamodule.image_size=16`` describe.

    Raises:
        UserError: if no datamodule is named or the configuration has an error.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    if not any(override.startswith("datamodule=") for override in overrides):
        raise UserError("name a datamodule, for example: python -m src.datamodules.doctor datamodule=digits")
    marked = [f"+{o}" if o.startswith("datamodule=") else o for o in overrides]
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = compose(overrides=marked)
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from error
    return build(OmegaConf.to_container(config.datamodule, resolve=True), "datamodule")


def examine(datamodule: Any) -> Diagnosis:
    """Prepares a datamodule and examines it, by images or by points."""
    datamodule.prepare_data()
    datamodule.setup("fit")
    return examine_images(datamodule) if hasattr(datamodule, "images") else examine_points(datamodule)


def main(overrides: Sequence[str]) -> int:
    """Prints the diagnosis; returns the exit code."""
    try:
        sys.stdout.write(f"{examine(compose_datamodule(overrides))}\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
