"""Small color patches of the two photographs that come with scikit-learn: real colors without a download."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..noise import permutation
from .base import ImageDataModule
from .image_set import ImageSet

_SHRINK = 4
_TEST_ROWS = slice(52, 76)
_TRAINING_ROWS = (slice(0, 52), slice(76, None))
_STRIDES = {"train": 1, "test": 4}
_FLAT = 6.0


class PhotosDataModule(ImageDataModule):
    """Square color patches of a temple and of a flower, the class being the photograph.

    The photographs are shrunk to a quarter, 106 x 160 pixels, by means over blocks. A band of 24 rows through the
    middle of both is kept for ``test``: no pixel of it is in a patch of ``train``. Training patches lie at every
    offset and overlap, test patches at every fourth. Patches without structure, sky and blurred leaves, are left out:
    those whose gray values have a standard deviation below 6 of 255. The order is shuffled, the same for every seed.

    Args:
        image_size: side of a patch, at most 24.
        channels: must be 3.
        settings: those of ImageDataModule; ``data_dir`` is not used, the data come with scikit-learn.

    Raises:
        UserError: another size or number of channels.
    """

    def __init__(self, *, image_size: int = 16, channels: int = 3, **settings: Any) -> None:
        tallest = _TEST_ROWS.stop - _TEST_ROWS.start
        if not 1 < image_size <= tallest:
            raise UserError(
                f"datamodule.image_size={image_size}: patches of the photographs have 2 to {tallest} pixels"
            )
        super().__init__(image_size=image_size, channels=channels, **settings)

    @property
    def class_names(self) -> list[str]:
        return ["temple", "flower"]

    @cached_property
    def _photos(self) -> list[Tensor]:
        """Two photographs (3, 106, 160) uint8."""
        from sklearn.datasets import load_sample_images

        return [_shrunk(photo) for photo in load_sample_images().images]

    def load_split(self, name: str) -> ImageSet:
        stride = _STRIDES[name]
        bands = (_TEST_ROWS,) if name == "test" else _TRAINING_ROWS
        parts = [torch.cat([_patches(photo[:, rows], self.height, stride) for rows in bands]) for photo in self._photos]
        labels = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
        images = torch.cat(parts)
        return ImageSet(images, labels, permutation(0, f"photos-{name}", 0, len(images)))


def _shrunk(photo: np.ndarray) -> Tensor:
    """Means over blocks of (H, W, 3) uint8, rounded: (3, H // 4, W // 4) uint8."""
    height, width = (side // _SHRINK for side in photo.shape[:2])
    blocks = photo[: height * _SHRINK, : width * _SHRINK].reshape(height, _SHRINK, width, _SHRINK, 3)
    return torch.from_numpy(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)).movedim(-1, 0)


def _patches(band: Tensor, size: int, stride: int) -> Tensor:
    """Patches (N, 3, size, size) of a band (3, H, W) that are not flat."""
    windows = band.unfold(1, size, stride).unfold(2, size, stride)
    patches = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
    contrast = patches.float().mean(1).flatten(1).std(1, correction=0)
    return patches[contrast >= _FLAT]
