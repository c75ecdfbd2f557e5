"""Batches of an image set, gathered in host memory or on the device of the trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.data import Dataset

from ..errors import UserError
from .addressing import address_only
from .image_set import ImageSet

_SHARE_OF_MEMORY = 0.1


class ImageBatches(Dataset[dict[str, Any]]):
    """Gather whole batches of bytes by address.

    Args:
        images: the set to which addresses refer.
    """

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self.labels = images.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, address: object) -> dict[str, Any]:
        address = address_only(address)
        batch = {"x": self.images.gather(address.index), **address.to_batch()}
        if self.labels is not None:
            batch["labels"] = self.labels[address.index]
        return batch


class ImagePlacement:
    """Where the images of a loader are kept.

    Args:
        on_device: true for the trainer's device, false for host memory, ``auto`` for a CUDA device of which the images
            take at most a tenth of the free memory.

    Raises:
        UserError: another value.
    """

    def __init__(self, on_device: bool | str) -> None:
        if on_device not in (True, False, "auto"):
            raise UserError(f"datamodule.on_device={on_device}: give true, false or auto")
        self._on_device = on_device
        self._uploaded: dict[tuple[str, torch.device], ImageSet] = {}

    def batches(self, split: str, images: ImageSet, device: torch.device) -> tuple[ImageBatches, torch.device | None]:
        """Return the images of a split and the device on which they are, ``device`` or None for host memory."""
        if not self.fits(math.prod(images.shape) * images.dtype.itemsize, device):
            return ImageBatches(images), None
        if (split, device) not in self._uploaded:
            self._uploaded[split, device] = images.to(device)
        return ImageBatches(self._uploaded[split, device]), device

    def fits(self, size: int, device: torch.device) -> bool:
        """Return whether images of ``size`` bytes are kept on ``device``."""
        if self._on_device != "auto":
            return bool(self._on_device)
        return device.type == "cuda" and size <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]
