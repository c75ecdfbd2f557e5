"""Any labeled image set of torchvision, decoded once into a memory map."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.build import nearest
from ..errors import UserError
from ..pictures import fit_picture
from ..pictures.decode import byte_pixels
from ..progress import Progress
from .base import ImageDataModule
from .image_set import ImageSet
from .reading import cache

_DAMAGED = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    pickle.UnpicklingError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class TorchvisionDataModule(ImageDataModule):
    """A set of ``torchvision.datasets`` whose items are (picture, label).

    Args:
        dataset: name of the class in ``torchvision.datasets``.
        splits: for each split, the arguments of that class that select it.
        all_splits: the splits that ``all`` joins, in this order.
        by_hand: which file to put where on machines that cannot download.
        labels: False ignores the labels.
        crop: size of a center crop before anything else; None for none.
        pad: width of a black border, added before resizing.
        settings: those of ImageDataModule.
    """

    def __init__(
        self,
        *,
        dataset: str,
        splits: Mapping[str, Mapping[str, Any]],
        all_splits: list[str],
        by_hand: str,
        labels: bool = True,
        crop: int | None = None,
        pad: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.dataset = dataset
        self.splits = splits
        self.parts = tuple(all_splits)
        self.by_hand = by_hand
        self.labels = labels
        self.crop = crop
        self.pad = pad

    @property
    def data_name(self) -> str:
        return self.dataset

    @property
    def class_names(self) -> list[str]:
        if not self.labels:
            return []
        names: list[str] = cache.read_meta(self._ensure(self.parts[0]))["class_names"]
        return names

    def prepare_data(self) -> None:
        """Download and decode the splits in use.

        Raises:
            UserError: if a download fails or a file is damaged.
        """
        for split in {self.train_split, self.val_split, self.test_split, self.reference_split}:
            self.images(split)

    def load_split(self, name: str) -> ImageSet:
        folder = self._ensure(name)
        labels = torch.from_numpy(np.load(folder / "labels.npy")) if self.labels else None
        return ImageSet(folder / "images.npy", labels)

    def _ensure(self, split: str) -> Path:
        arguments = self.splits[split]
        treatment = "".join(
            f"-{name}{value}"
            for name, value in (("crop", self.crop), ("pad", self.pad), ("gray", self.channels == 1))
            if value
        )
        size = self.height if self.height == self.width else f"{self.height}x{self.width}"
        folder = self.data_dir / "decoded" / f"{self.dataset}-{split}-{size}{treatment}"
        return cache.ensure(folder, partial(self._decode, arguments))

    def _decode(self, arguments: Mapping[str, Any], folder: Path) -> None:
        from torchvision import datasets

        kind = vars(datasets).get(self.dataset)
        if kind is None:
            hint = nearest(self.dataset, datasets.__all__)
            raise UserError(f"datamodule.dataset={self.dataset} is not a class of torchvision.datasets{hint}")
        try:
            pictures = kind(self.data_dir, download=True, **arguments)
            images = cache.create_images(folder, len(pictures), self.shape)
            labels = np.zeros(len(pictures), np.int64)
            with Progress(f"decoding {self.dataset}", len(pictures)) as progress:
                for i in range(len(pictures)):
                    picture, label = pictures[i]
                    pixels = byte_pixels(picture, self.channels)
                    images[i] = fit_picture(pixels, (self.height, self.width), self.crop, self.pad)
                    labels[i] = label if self.labels else 0
                    progress.add(1)
        except _DAMAGED as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.dataset} is not complete in {self.data_dir} and could not be downloaded or read ({reason}): "
                f"put {self.by_hand} there"
            ) from error
        if self.labels and labels.min() < 0:
            raise UserError(f"this split of {self.dataset} has images without label: set datamodule.labels=false")
        images.flush()
        np.save(folder / "labels.npy", labels)
        # Some of torchvision's classes know the names.
        names = getattr(pictures, "classes", None) or [str(label) for label in np.unique(labels)]
        cache.write_meta(folder, {"class_names": list(names)})
