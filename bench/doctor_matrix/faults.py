"""Faults that are planted in images, and what the doctor says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from src.tasks.evaluate.doctor.changes import RULES, add_half, jpeg, mirror_half, resize, stretch, swap_channels
from src.tasks.evaluate.doctor.evidence.base import Images
from src.tasks.evaluate.doctor.examination import Examination, Examiner

from . import net
from .data import SETS, STANDARD, Pool, Remembering, pool

_BATCH = 500


def truncated(x: Tensor, index: Tensor) -> Tensor:
    """Floats whose nearest bytes are ``x``, cut off instead of rounded."""
    return add_half(x, index + 10**6, -1)


CHANGES: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "[0, 1] read as [-1, 1]": ("range", partial(stretch, low=-255, high=255)),
    "[-1, 1] clipped as [0, 1]": ("range", partial(stretch, low=127.5, high=255)),
    "video levels": ("range", partial(stretch, low=-18.63, high=278.28)),
    "channels swapped": ("channels", swap_channels),
    "truncated": ("quantize", truncated),
    **{f"JPEG quality {q}": ("jpeg", partial(jpeg, quality=q)) for q in (95, 90, 75, 50)},
    **{f"half size and back, {rule}": ("resize", partial(resize, rule=rule)) for rule in RULES},
    "half of them mirrored": ("flips", mirror_half),
}
"""Faults of single images, with the family that the doctor is to name."""

FAULTS = {
    "none": ("samples", "none"),
    "an eighth of the samples": ("samples",),
    **{fault: (family,) for fault, (family, _) in CHANGES.items()},
    **{f"shrunk by {rule}": ("resize",) for rule in RULES if rule != STANDARD},
    "another split": ("split",),
    "classes 9 to 1": ("classes",),
    **net.FAMILIES,
}
"""Every fault with the families of which the doctor is to name one."""


def faults_of(name: str) -> list[str]:
    """Faults that images of a set can have."""
    if name == net.NAME:
        return list(net.FAULTS)
    made = pool(name)
    gray = made.images.shape[1] == 1
    return [
        fault
        for fault in FAULTS
        if not (gray and fault == "channels swapped")
        and (not fault.startswith("shrunk") or fault in made.variants)
        and fault not in net.FAMILIES
    ]


@dataclass(frozen=True)
class Trial:
    """Reference and new images of a set, drawn by a seed.

    Args:
        name: one of ``SETS``.
        seed: of the draw.
        samples, reference: how many.
    """

    name: str
    seed: int
    samples: int
    reference: int
    extractor: Remembering

    @classmethod
    def of(cls, name: str, seed: int, samples: int, reference: int) -> Trial:
        """With the features of the set."""
        return cls(name, seed, samples, reference, Remembering(SETS[name][1]()))

    def examined(self, fault: str) -> Examination:
        """What the doctor finds in images with a fault."""
        made = pool(self.name)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(made.images), generator=generator)
        kept, rest = order[: self.reference], order[self.reference :]
        splits = {"train": _of(made.images[kept], made.labels[kept]), "test": _of(made.test)}
        found = Examiner(self.extractor, _of(self.images(made, rest, fault)), splits, "train").run()
        self.extractor.learning = False
        return found

    def images(self, made: Pool, rest: Tensor, fault: str) -> Tensor:
        """The images of the trial with a fault; ``rest`` are places in the pool."""
        chosen = rest[: self.samples // 8 if fault == "an eighth of the samples" else self.samples]
        if fault == "another split":
            return made.test[: self.samples]
        if fault == "classes 9 to 1":
            half = made.labels[rest] > made.labels.max() / 2
            common, few = rest[half][: self.samples * 9 // 10], rest[~half]
            chosen = torch.cat([common, few[: len(common) // 9]])
        if fault in made.variants:
            return made.variants[fault][chosen]
        images = made.images[chosen]
        return CHANGES[fault][1](images, chosen) if fault in CHANGES else images


def _of(x: Tensor, labels: Tensor | None = None) -> Images:
    """Images in memory."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.split(torch.arange(len(x)), _BATCH):
            yield x[index], index

    return Images(len(x), batches, labels)
