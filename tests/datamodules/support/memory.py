"""An image datamodule over a given tensor, for tests of common behavior."""

import torch

from src.datamodules.base import ImageDataModule
from src.datamodules.image_set import ImageSet


class MemoryDataModule(ImageDataModule):
    """Image i of the training split is filled with byte i % 256, except for its leftmost column, which is 0."""

    def __init__(self, count=40, held_out=7, **settings):
        settings = {"image_size": 4, "channels": 3, "num_classes": 5, "global_batch_size": 8, **settings}
        super().__init__(**settings)
        self.count = count
        self.held_out = held_out

    @property
    def class_names(self):
        return list("abcde")

    def load_split(self, name):
        first, count = {"train": (0, self.count), "test": (100, self.held_out)}[name]
        values = torch.arange(first, first + count)
        images = (values % 256).to(torch.uint8)[:, None, None, None].repeat(1, 3, 4, 4)
        images[..., 0] = 0
        return ImageSet(images, values % 5)
