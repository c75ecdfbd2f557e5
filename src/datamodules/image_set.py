"""Images that lie in memory or in a file, and what can be said about them: mean colour and fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

_CHUNK_BYTES = 1 << 26


class ImageStore:
    """Images of an .npy file, read through a memory map, or of a tensor.

    A map is opened anew in a worker process instead of being copied to it.

    Args:
        source: path of a uint8 .npy file of shape (N, C, H, W), or such a tensor.

    Raises:
        UserError: if the file is damaged.
    """

    def __init__(self, source: Path | Tensor) -> None:
        self._path = source if isinstance(source, Path) else None
        self.data: Tensor = _open(source) if isinstance(source, Path) else source
        if self.data.dtype != torch.uint8 or self.data.ndim != 4:
            raise ValueError(f"images must be uint8 (N, C, H, W), got {self.data.dtype} {tuple(self.data.shape)}")

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "data": self.data if self._path is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self.data = _open(self._path)


def _open(path: Path) -> Tensor:
    try:
        # Copy-on-write: torch wants writable memory, and nothing ever reaches the file.
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete the folder {path.parent} and start again") from error


@dataclass(frozen=True)
class _Part:
    store: ImageStore
    rows: Tensor | None
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.store.data) if self.rows is None else len(self.rows)

    def gather(self, index: Tensor) -> Tensor:
        return self.store.data.index_select(0, index if self.rows is None else self.rows[index])


class ImageSet:
    """An indexable set of uint8 images (N, C, H, W) with int64 labels (N,) or none.

    Args:
        source: a tensor of images, or the path of an .npy file with them.
        labels: (N,) int64 labels of the images of ``source``.
        rows: (M,) int64: the images of ``source`` that belong to the set, in order; None for all.
    """

    dtype = torch.uint8

    def __init__(self, source: Tensor | Path, labels: Tensor | None = None, rows: Tensor | None = None) -> None:
        if labels is not None and rows is not None:
            labels = labels[rows]
        part = _Part(ImageStore(source), rows, labels)
        if labels is not None and len(labels) != len(part):
            raise ValueError(f"{len(part)} images have {len(labels)} labels")
        self._parts: tuple[_Part, ...] = (part,)

    @classmethod
    def concatenate(cls, sets: Sequence[ImageSet]) -> ImageSet:
        """One set of all images of ``sets``, in order; it has labels if all of them have."""
        shapes = {s.shape[1:] for s in sets}
        if len(shapes) != 1:
            raise ValueError(f"sets of different shapes cannot be joined: {sorted(shapes)}")
        joined = cls.__new__(cls)
        joined._parts = tuple(part for s in sets for part in s._parts)
        return joined

    def first(self, count: int) -> ImageSet:
        """The first ``count`` images (all if there are fewer)."""
        parts = []
        for part in self._parts:
            take = min(count, len(part))
            rows = torch.arange(take) if part.rows is None else part.rows[:take]
            parts.append(_Part(part.store, rows, None if part.labels is None else part.labels[:take]))
            count -= take
        cut = ImageSet.__new__(ImageSet)
        cut._parts = tuple(parts)
        return cut

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        channels, height, width = self._parts[0].store.data.shape[1:]
        return len(self), channels, height, width

    @property
    def labels(self) -> Tensor | None:
        """(N,) int64, or None."""
        labels = [part.labels for part in self._parts if part.labels is not None]
        return torch.cat(labels) if len(labels) == len(self._parts) else None

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Copies of images: (C, H, W) for a number, (M, C, H, W) for a slice or (M,) numbers."""
        if isinstance(index, int):
            return self.gather(torch.arange(len(self))[index][None])[0]
        return self.gather(torch.arange(len(self))[index])

    def gather(self, index: Tensor) -> Tensor:
        """Images ``index`` (M,) int64 in [0, N): (M, C, H, W) uint8."""
        if len(self._parts) == 1:
            return self._parts[0].gather(index)
        images = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        first = 0
        for part in self._parts:
            mine = (index >= first) & (index < first + len(part))
            images[mine] = part.gather(index[mine] - first)
            first += len(part)
        return images

    def to(self, device: torch.device) -> ImageSet:
        """A copy of the whole set in the memory of ``device``."""
        images = torch.empty(self.shape, dtype=torch.uint8, device=device)
        first = 0
        for chunk in self.chunks():
            images[first : first + len(chunk)] = chunk.to(device)
            first += len(chunk)
        return ImageSet(images, None if self.labels is None else self.labels.to(device))

    def chunks(self) -> Iterator[Tensor]:
        """All images in order, as uint8 batches of some 64 MiB."""
        size = max(1, _CHUNK_BYTES // max(1, int(np.prod(self.shape[1:]))))
        for first in range(0, len(self), size):
            yield self.gather(torch.arange(first, min(first + size, len(self))))

    def byte_counts(self) -> Tensor:
        """How often each byte occurs in each channel: (C, 256) int64."""
        channels = self.shape[1]
        counts = torch.zeros(channels, 256, dtype=torch.int64)
        for images in self.chunks():
            for c in range(channels):
                counts[c] += torch.from_numpy(np.bincount(images[:, c].numpy().ravel(), minlength=256))
        return counts

    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels and labels, in hexadecimal; the same wherever the images lie."""
        digest = hashlib.sha256(repr(self.shape).encode())
        for images in self.chunks():
            digest.update(images.numpy().data)
        if (labels := self.labels) is not None:
            digest.update(labels.numpy().data)
        return digest.hexdigest()
