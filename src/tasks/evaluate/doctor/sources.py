"""Images as the doctor reads them: from files, from memory, from the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ....config.build import nearest
from ....config.location import CONFIG_DIR
from ....errors import UserError
from ....io.headers import opened
from ....stored_values import BYTES, StoredValues
from ... import checkpoint_config
from ...image_source import ImageSource
from .evidence.base import Images

_BATCH = 256


def of_files(source: ImageSource, channels: int | None, values: StoredValues) -> Images:
    """Images from files, as uint8."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index, rows in source.batches(range(len(source)), _BATCH, channels):
            yield values.to_bytes(rows), index

    return Images(len(source), batches)


def of_tensor(images: Tensor) -> Images:
    """Images (N, C, H, W) uint8 held in memory."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.split(torch.arange(len(images)), _BATCH):
            yield images[index], index

    return Images(len(images), batches)


def splits_of(data: Any) -> dict[str, Images]:
    """Return the reference split of a datamodule and its other splits, with classes."""
    names = dict.fromkeys([data.reference_split, *data.parts])

    def one(name: str) -> Images:
        stored = data.images(name)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for index in torch.split(torch.arange(len(stored)), _BATCH):
                yield data.values.to_bytes(stored.gather(index)), index

        return Images(len(stored), batches, stored.labels)

    return {name: one(name) for name in names}


def is_statistics(path: str) -> bool:
    """Return whether an npz file holds moments of features rather than images."""
    there = Path(path).expanduser()
    if there.suffix != ".npz" or not there.is_file():
        return False
    with opened(there) as headers:
        return {"mu", "sigma"} <= headers.keys()


def data_of_name(name: str) -> dict[str, Any]:
    """Return the node of ``conf/datamodule/<name>.yaml``; raise UserError if there is no such file."""
    path = CONFIG_DIR / "datamodule" / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise UserError(
            f"reference={name} is neither a file nor a data set{nearest(name, names)}: give images, statistics "
            f"(npz) or one of {', '.join(names)}"
        )
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return checkpoint_config.node({}, "datamodule", loaded)


def bytes_of(source: ImageSource, values: StoredValues | None) -> StoredValues:
    """Return what the values of a file mean; raise UserError for floats: their conversion to bytes changes scores."""
    found = source.values(values)
    if found.levels is None and (values is None or values.levels is not None):
        raise UserError(
            f"{source.path} holds {found.dtype} values, and their conversion to bytes changes a score: "
            "convert them to uint8 first"
        )
    if found != BYTES:
        source.notes.append(f"{found.name} are scored as bytes")
    return found
