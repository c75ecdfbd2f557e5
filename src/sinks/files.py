"""Files of samples: written whole, by several processes without collisions, and read by index."""

from __future__ import annotations

import math
import os
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..io.atomic import refusals, replacing, temporary_beside
from ..io.npz import mapped, write_npz

ADVICE = "free space, then run the same command again"

_CHUNK = 256


class SampleFiles(ABC):
    """A format of samples, addressed by index."""

    @abstractmethod
    def present(self) -> set[int]:
        """Indices of the stored samples."""

    @abstractmethod
    def write(self, index: Tensor, samples: Tensor) -> None:
        """Write samples (B, *d) under index (B,) int64; UserError when the system refuses."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Tensor:
        """The samples of ``indices``, (len(indices), *d)."""

    @abstractmethod
    def bytes_for(self, count: int) -> int:
        """Upper bound of the bytes that ``count`` more samples take."""

    @abstractmethod
    def finish(self) -> None:
        """Called once, by one process, when all samples are stored."""


class PngFiles(SampleFiles):
    """``000000.png`` and so on.

    Args:
        folder: where they go.
        shape: (C, H, W) of the uint8 images, C of 1 or 3.
    """

    def __init__(self, folder: Path, shape: Sequence[int]) -> None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise UserError(f"samples of shape {tuple(shape)} are no grey or colour images: use format=npz")
        self.folder = folder
        self.shape = tuple(shape)

    def present(self) -> set[int]:
        if not self.folder.is_dir():
            return set()
        # A power cut can leave an empty file under the final name.
        names = (Path(entry.name) for entry in os.scandir(self.folder) if entry.stat().st_size > 0)
        return {int(name.stem) for name in names if name.suffix == ".png" and name.stem.isdecimal()}

    def write(self, index: Tensor, samples: Tensor) -> None:
        pixels = samples.movedim(1, -1).contiguous().numpy()
        for i, image in zip(index.tolist(), pixels, strict=True):
            # A file cut short by a power cut has no bytes and is made again.
            with replacing(self._path(i), ADVICE, durable=False) as temporary:
                Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(temporary, format="png")

    def read(self, indices: Sequence[int]) -> Tensor:
        images = np.empty((len(indices), *self.shape[1:], self.shape[0]), dtype=np.uint8)
        for row, i in enumerate(indices):
            try:
                with Image.open(self._path(i)) as image:
                    images[row] = np.asarray(image).reshape(images.shape[1:])
            except (OSError, ValueError) as error:
                raise UserError(f"{self._path(i)} is damaged: delete it and run the same command again") from error
        return torch.from_numpy(images).movedim(-1, 1)

    def bytes_for(self, count: int) -> int:
        # Noise does not compress, and a file takes whole blocks.
        return count * (math.ceil((math.prod(self.shape) * 1.01 + 1024) / 4096) * 4096)

    def finish(self) -> None:
        """Nothing: every image has its own file."""

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.png"


class NpzFiles(SampleFiles):
    """``<stem>_<first>-<last>.npz`` for every batch, and at the end ``<stem>.npz`` in their place.

    Each holds ``samples`` and ``index``. Images are kept as (N, H, W, C), the custom of this format, anything else as
    it is. Arrays are not compressed and are read by mapping, so that a file need not fit into memory.

    Args:
        folder: where they go.
        stem: how their names begin.
        shape: (*d) of a sample.
        dtype: of the numbers.
    """

    def __init__(self, folder: Path, stem: str, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.folder, self.stem = folder, stem
        self.shape, self.dtype = tuple(shape), dtype

    def present(self) -> set[int]:
        return set(self._where())

    def write(self, index: Tensor, samples: Tensor) -> None:
        if len(index) == 0:
            return
        name = f"{self.stem}_{int(index.min()):06d}-{int(index.max()):06d}.npz"
        write_npz(self.folder / name, {"samples": self._stored(samples).numpy(), "index": index.numpy()}, ADVICE)

    def read(self, indices: Sequence[int]) -> Tensor:
        where = self._where()
        files = {path: mapped(path, "samples") for path in {where[i][0] for i in indices}}
        rows = [torch.from_numpy(np.array(files[where[i][0]][where[i][1]])) for i in indices]
        stacked = torch.stack(rows) if rows else torch.empty(0, *self._stored_shape, dtype=self.dtype)
        return stacked.movedim(-1, 1) if len(self.shape) == 3 else stacked

    def bytes_for(self, count: int) -> int:
        # Batches, the joined file, and the map it is filled through.
        return 3 * count * math.prod(self.shape) * self.dtype.itemsize

    def finish(self) -> None:
        """Join all files into one, ordered by index, in bounded memory."""
        where = self._where()
        parts = sorted({path for path, _ in where.values()})
        target = self.folder / f"{self.stem}.npz"
        if parts == [target]:
            return
        position = {i: row for row, i in enumerate(sorted(where))}
        shape = (len(position), *self._stored_shape)
        with refusals(target, ADVICE), temporary_beside(self.folder / f"{self.stem}.npy") as flat:
            joined = np.lib.format.open_memmap(flat, "w+", torch.empty(0, dtype=self.dtype).numpy().dtype, shape)
            for path in parts:
                self._copy(path, joined, where, position)
            joined.flush()
            del joined
            with replacing(target, ADVICE) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
                archive.write(flat, "samples.npy")
                with archive.open("index.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(sorted(where), dtype=np.int64))
        for path in parts:
            if path != target:
                path.unlink()

    def _copy(
        self, path: Path, joined: np.ndarray, where: dict[int, tuple[Path, int]], position: dict[int, int]
    ) -> None:
        samples = mapped(path, "samples")
        for first in range(0, len(samples), _CHUNK):
            for row, i in enumerate(mapped(path, "index")[first : first + _CHUNK].tolist(), start=first):
                # A sample that two files hold is taken once.
                if where[i] == (path, row):
                    joined[position[i]] = samples[row]

    def _where(self) -> dict[int, tuple[Path, int]]:
        """File and row of every index."""
        pattern = re.compile(rf"{re.escape(self.stem)}(_\d+-\d+)?\.npz")
        paths = sorted(path for path in self.folder.glob(f"{self.stem}*.npz") if pattern.fullmatch(path.name))
        return {i: (path, row) for path in paths for row, i in enumerate(mapped(path, "index").tolist())}

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        return (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape

    def _stored(self, samples: Tensor) -> Tensor:
        return samples.movedim(1, -1).contiguous() if len(self.shape) == 3 else samples
