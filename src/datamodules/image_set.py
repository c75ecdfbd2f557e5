"""Images or vectors in memory or in a file, with their mean, extremes and fingerprint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..io.hashing import pieces_hash

_CHUNK_BYTES = 1 << 26
_DTYPES = (torch.uint8, torch.uint16, torch.int32, torch.float16, torch.float32)


@dataclass(frozen=True)
class Moments:
    """Statistics of the stored values of a set.

    Attributes:
        mean: mean of each channel, (C,) float64.
        square: mean square of each channel, (C,) float64.
        low: smallest value.
        high: largest value.
    """

    mean: Tensor
    square: Tensor
    low: float
    high: float


class ImageStore:
    """Images of an .npy file, read through a memory map, or of a tensor.

    A worker process opens the map again instead of copying it.

    Args:
        source: path of a .npy file of shape (N, *d), uint8, uint16, float16 or float32, or such a tensor.

    Raises:
        UserError: if the file is damaged.
    """

    def __init__(self, source: Path | Tensor) -> None:
        self._path = source if isinstance(source, Path) else None
        self.data: Tensor = _open(source) if isinstance(source, Path) else source
        if self.data.dtype not in _DTYPES or self.data.ndim < 2:
            raise ValueError(f"data must be (N, *d) of {_DTYPES}, got {self.data.dtype} {tuple(self.data.shape)}")

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "data": self.data if self._path is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self.data = _open(self._path)


def _open(path: Path) -> Tensor:
    try:
        # Copy-on-write: torch needs writable memory, and the file is never changed.
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
        data, rows = self.store.data, index if self.rows is None else self.rows[index]
        if data.dtype == torch.uint16:
            # torch supports few operations on uint16.
            return data.view(torch.int16).index_select(0, rows).to(torch.int32).bitwise_and_(0xFFFF)
        return data.index_select(0, rows).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        kept = self.store.data.dtype
        return {torch.uint16: torch.int32, torch.float16: torch.float32}.get(kept, kept)


class ImageSet:
    """An indexable set of rows (N, *d), images or vectors, with int64 labels (N,) or none.

    Rows are returned as uint8, int32 (for 16-bit data) or float32 (for float data).

    Args:
        source: a tensor of images, or the path of an .npy file with them.
        labels: (N,) int64 labels of the images of ``source``.
        rows: (M,) int64: the images of ``source`` that belong to the set, in order; None for all.
    """

    def __init__(self, source: Tensor | Path, labels: Tensor | None = None, rows: Tensor | None = None) -> None:
        if labels is not None and rows is not None:
            labels = labels[rows]
        if rows is not None and bool((rows.sort().values.diff() == 0).any()):
            raise ValueError("rows repeat an image")
        part = _Part(ImageStore(source), rows, labels)
        if labels is not None and len(labels) != len(part):
            raise ValueError(f"{len(part)} images have {len(labels)} labels")
        self._parts: tuple[_Part, ...] = (part,)

    @classmethod
    def concatenate(cls, sets: Sequence[ImageSet]) -> ImageSet:
        """Join all images of ``sets`` in order; the result has labels if all sets have them."""
        shapes = {s.shape[1:] for s in sets}
        if len(shapes) != 1:
            raise ValueError(f"sets of different shapes cannot be joined: {sorted(shapes)}")
        joined = cls.__new__(cls)
        joined._parts = tuple(part for s in sets for part in s._parts)
        return joined

    def first(self, count: int) -> ImageSet:
        """Return the first ``count`` images, or all if there are fewer."""
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
    def shape(self) -> tuple[int, ...]:
        """Shape (N, *d)."""
        return len(self), *self._parts[0].store.data.shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the rows that ``gather`` returns."""
        return self._parts[0].dtype

    @property
    def labels(self) -> Tensor | None:
        """Labels (N,) int64, or None."""
        labels = [part.labels for part in self._parts if part.labels is not None]
        return torch.cat(labels) if len(labels) == len(self._parts) else None

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Return copies of images: (C, H, W) for a number, (M, C, H, W) for a slice or (M,) numbers."""
        if isinstance(index, int):
            return self.gather(torch.arange(len(self))[index][None])[0]
        return self.gather(torch.arange(len(self))[index])

    def gather(self, index: Tensor) -> Tensor:
        """Return the images ``index`` (M,) int64 in [0, N): (M, *d)."""
        if len(self._parts) == 1:
            return self._parts[0].gather(index)
        images = torch.empty(len(index), *self.shape[1:], dtype=self.dtype)
        first = 0
        for part in self._parts:
            mine = (index >= first) & (index < first + len(part))
            images[mine] = part.gather(index[mine] - first)
            first += len(part)
        return images

    def to(self, device: torch.device) -> ImageSet:
        """Return a copy of the whole set in the memory of ``device``."""
        images = torch.empty(self.shape, dtype=self.dtype, device=device)
        first = 0
        for chunk in self.chunks():
            images[first : first + len(chunk)] = chunk.to(device)
            first += len(chunk)
        return ImageSet(images, None if self.labels is None else self.labels.to(device))

    def chunks(self) -> Iterator[Tensor]:
        """Yield all rows in order, in batches of about 64 MiB."""
        size = max(1, _CHUNK_BYTES // max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize))
        for first in range(0, len(self), size):
            yield self.gather(torch.arange(first, min(first + size, len(self))))

    def byte_counts(self) -> Tensor:
        """Count each byte in each channel of uint8 data: (C, 256) int64."""
        channels = self.shape[1]
        counts = torch.zeros(channels, 256, dtype=torch.int64)
        for images in self.chunks():
            for c in range(channels):
                counts[c] += torch.from_numpy(np.bincount(images[:, c].numpy().ravel(), minlength=256))
        return counts

    def moments(self) -> Moments:
        """Return mean and spread of each channel, and the extremes, of stored values."""
        if self.dtype == torch.uint8:
            counts, values = self.byte_counts().double(), torch.arange(256, dtype=torch.float64)
            seen = counts.sum(0).nonzero()
            mean = counts @ values / counts.sum(1)
            square = counts @ values.square() / counts.sum(1)
            return Moments(mean, square, float(seen[0]), float(seen[-1]))
        mean = torch.zeros(self.shape[1], dtype=torch.float64)
        square, low, high = torch.zeros_like(mean), math.inf, -math.inf
        for rows in self.chunks():
            flat = rows.double().movedim(1, 0).flatten(1)
            mean = mean + flat.mean(1) * (len(rows) / len(self))
            square = square + flat.square().mean(1) * (len(rows) / len(self))
            low, high = min(low, float(flat.min())), max(high, float(flat.max()))
        return Moments(mean, square, low, high)

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, pixels and labels in hexadecimal, wherever the images are stored."""
        labels = [] if self.labels is None else [self.labels]
        parts = (part.numpy().data for part in chain(self.chunks(), labels))
        return pieces_hash(chain([repr(self.shape).encode()], parts))
