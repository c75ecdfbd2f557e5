"""Images and labels of one .npz file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..io.npz import read_npz
from .base import ImageDataModule
from .image_set import ImageSet


class NpzDataModule(ImageDataModule):
    """Splits ``train`` and ``test`` of an .npz file, read into memory.

    The file holds ``train_images`` (N, C, H, W) uint8 and, optionally, ``train_labels`` (N,) of whole numbers from 0,
    ``test_images``, ``test_labels`` and ``class_names`` (K,) of text.

    Args:
        path: the file.
        settings: those of ImageDataModule.
    """

    def __init__(self, *, path: str | Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.path = Path(path)

    @property
    def class_names(self) -> list[str]:
        if "train_labels" not in self._arrays:
            return []
        classes = int(self._arrays["train_labels"].max()) + 1
        names = self._arrays.get("class_names", np.arange(classes))
        if len(names) < classes:
            raise UserError(f"{self.path} has labels up to {classes - 1}, but only {len(names)} class_names")
        return [str(name) for name in names]

    def load_split(self, name: str) -> ImageSet:
        if name not in self.parts:
            raise KeyError(name)
        images = self._arrays.get(f"{name}_images")
        if images is None:
            raise UserError(f"{self.path} has no {name}_images, only {', '.join(self._arrays)}: choose another split")
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(
                f"{name}_images in {self.path} are {images.dtype} of shape {images.shape}: write uint8 (N, C, H, W)"
            )
        labels = self._arrays.get(f"{name}_labels")
        if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0):
            raise UserError(
                f"{name}_labels in {self.path} are {labels.dtype} of shape {labels.shape}: "
                f"write {len(images)} whole numbers from 0"
            )
        return ImageSet(torch.from_numpy(images), None if labels is None else torch.from_numpy(labels.astype(np.int64)))

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return read_npz(self.path)
