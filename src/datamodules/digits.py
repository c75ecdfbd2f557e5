"""Handwritten digits of 8x8 pixels that come with scikit-learn: a small set for tests and first experiments."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..noise import permutation
from .base import ImageDataModule
from .image_set import ImageSet

_TRAINING_IMAGES = 1500
_SPLIT_SEED = 0


class DigitsDataModule(ImageDataModule):
    """1,797 digits, 8x8, one channel, ten classes.

    Gray values v in 0 .. 16 become the bytes round(255 v / 16). The split is the same for every seed: 1,500 images are
    ``train``, 297 are ``test``; ``all`` is ``train`` followed by ``test``.

    Args:
        image_size: must be 8.
        channels: must be 1.
        settings: those of ImageDataModule; ``data_dir`` is not used, the data come with scikit-learn.
    """

    def __init__(self, *, image_size: int = 8, channels: int = 1, **settings: Any) -> None:
        super().__init__(image_size=image_size, channels=channels, **settings)

    @property
    def class_names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    @cached_property
    def _digits(self) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits

        gray, labels = load_digits(return_X_y=True)
        images = np.round(gray * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def load_split(self, name: str) -> ImageSet:
        images, labels = self._digits
        order = permutation(_SPLIT_SEED, "digits-split", 0, len(images))
        rows = {"train": order[:_TRAINING_IMAGES], "test": order[_TRAINING_IMAGES:]}
        return ImageSet(images, labels, rows[name])
