"""Images per second from bytes in memory to floats for the net, without a net."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from bench.rows import Row, row
from bench.timing import Timing, interleaved, ratio
from src.datamodules.base import ImageDataModule
from src.datamodules.image_set import ImageSet

SECTION = "Input pipeline, 32x32x3 with mirroring, batch 128"
COUNT, BATCH = 50_000, 128


class RandomImages(ImageDataModule):
    """Random bytes in the shape of CIFAR-10, with labels."""

    def load_split(self, name: str) -> ImageSet:
        return ImageSet(_bytes(), torch.arange(COUNT) % 10)

    @property
    def class_names(self) -> list[str]:
        return [str(label) for label in range(10)]


def images_per_second(rounds: int, budget: float) -> list[Row]:
    """Measure our pipeline in this process, and torchvision's in this process and with two workers."""
    # About a second of work: a whole epoch with ours, a part of one with torchvision.
    share = COUNT // 8
    alternatives = {
        "ours": (_ours(), COUNT // BATCH * BATCH),
        "torchvision + DataLoader": (_torchvision(0, share), share // BATCH * BATCH),
        "torchvision + DataLoader, 2 workers": (_torchvision(2, share), share // BATCH * BATCH),
    }
    times = interleaved({name: run for name, (run, _) in alternatives.items()}, rounds, budget=budget)
    rates = {
        name: Timing(tuple(alternatives[name][1] / second for second in timing.seconds))
        for name, timing in times.items()
    }
    rows = [
        row(SECTION, name, rate, "images/s", at_least=100_000 if name == "ours" else None)
        for name, rate in rates.items()
    ]
    others = [ratio(rates["ours"], rate) for name, rate in rates.items() if name != "ours"]
    fastest = min(others, key=lambda timing: timing.median)
    return [*rows, row(SECTION, "ours over the faster of the others", fastest, "x")]


def _ours() -> Callable[[], object]:
    data = RandomImages(image_size=32, channels=3, global_batch_size=BATCH, random_flip=True)
    data.setup("fit")

    def epoch() -> None:
        for batch in data.train_dataloader():
            data.on_after_batch_transfer(batch, 0)

    return epoch


def _torchvision(workers: int, count: int) -> Callable[[], object]:
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    # Without its constructor, which needs files; images are read by the class's own code.
    data = CIFAR10.__new__(CIFAR10)
    data.data = _bytes().permute(0, 2, 3, 1).contiguous().numpy()
    data.targets = list(np.arange(COUNT) % 10)
    data.transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    data.target_transform = None
    loader = DataLoader(Subset(data, range(count)), BATCH, shuffle=True, drop_last=True, num_workers=workers)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def _bytes() -> torch.Tensor:
    return torch.randint(256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
