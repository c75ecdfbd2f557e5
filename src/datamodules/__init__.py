"""Data: image sets and toy distributions as Lightning datamodules.

Names are resolved on first use, so that a worker that only decodes images imports neither torch nor Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .addressing import AddressedBatchSampler, BatchAddress, ShardSampler
    from .base import ImageDataModule
    from .cifar10 import CIFAR10DataModule
    from .digits import DigitsDataModule
    from .image_folder import ImageFolderDataModule
    from .npz import NpzDataModule
    from .photos import PhotosDataModule
    from .torchvision_images import TorchvisionDataModule
    from .toy import ToyDataModule
    from .vectors import VectorDataModule

_HOMES = {
    "AddressedBatchSampler": "addressing",
    "BatchAddress": "addressing",
    "CIFAR10DataModule": "cifar10",
    "DigitsDataModule": "digits",
    "ImageDataModule": "base",
    "ImageFolderDataModule": "image_folder",
    "NpzDataModule": "npz",
    "PhotosDataModule": "photos",
    "ShardSampler": "addressing",
    "TorchvisionDataModule": "torchvision_images",
    "ToyDataModule": "toy",
    "VectorDataModule": "vectors",
}

__all__ = [
    "AddressedBatchSampler",
    "BatchAddress",
    "CIFAR10DataModule",
    "DigitsDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "NpzDataModule",
    "PhotosDataModule",
    "ShardSampler",
    "TorchvisionDataModule",
    "ToyDataModule",
    "VectorDataModule",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
