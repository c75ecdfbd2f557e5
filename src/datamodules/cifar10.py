"""CIFAR-10: 60,000 color images of 32x32 pixels in ten classes (Krizhevsky 2009)."""

from __future__ import annotations

from typing import Any

from .torchvision_images import TorchvisionDataModule


class CIFAR10DataModule(TorchvisionDataModule):
    """Splits: ``train`` (50,000 images), ``test`` (10,000); ``all`` is ``train`` followed by ``test``.

    Args:
        image_size: 32, or another size to resize to.
        channels: 3, or 1 for gray.
        settings: those of ImageDataModule and TorchvisionDataModule.
    """

    def __init__(self, *, image_size: int = 32, channels: int = 3, **settings: Any) -> None:
        super().__init__(
            dataset="CIFAR10",
            splits={"train": {"train": True}, "test": {"train": False}},
            all_splits=["train", "test"],
            by_hand="cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            image_size=image_size,
            channels=channels,
            **settings,
        )
