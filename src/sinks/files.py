"""Files of samples: written atomically, by several processes without collisions, and read by index."""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..io.atomic import refusals, replacing, temporary_next_to
from ..io.npz import map_member, write_npz
from ..pictures import WRITERS, open_picture

ADVICE = "free disk space, then run the same command again"

_CHUNK = 256


class SampleFiles(ABC):
    """A format of samples, addressed by index."""

    @abstractmethod
    def present(self) -> set[int]:
        """Return the indices of the stored samples."""

    @abstractmethod
    def write(self, index: Tensor, samples: Tensor) -> None:
        """Write samples (B, *d) under index (B,) int64; raise UserError if the system refuses."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the samples of ``indices``, (len(indices), *d)."""

    @abstractmethod
    def bytes_for(self, count: int) -> int:
        """Return an upper bound of the bytes that ``count`` more samples take."""

    @abstractmethod
    def finish(self) -> None:
        """Finish the files; called once, by one process, when all samples are stored."""


class PictureFiles(SampleFiles):
    """``000000.png`` and so on: one file per image, with the bit depth of the data.

    Args:
        folder: output folder.
        shape: (C, H, W) of the images.
        file_format: ``png`` (C of 1 to 4), ``tiff`` or ``npy`` (H, W, C).
        dtype: dtype of the stored values.

    Raises:
        UserError: the format does not support such values.
    """

    def __init__(self, folder: Path, shape: Sequence[int], file_format: str = "png", dtype: str = "uint8") -> None:
        self.folder, self.shape, self.file_format = folder, tuple(shape), file_format
        # Samples of half-precision data are generated in single precision.
        self.dtype = np.dtype("float32" if dtype.startswith("float") else dtype)
        if len(shape) != 3:
            raise UserError(f"samples of shape {self.shape} are not images: use format=npz")
        if file_format == "png" and (shape[0] > 4 or self.dtype.kind == "f"):
            raise UserError(
                f"format=png stores 1 to 4 channels of 8 or 16 bits, not {shape[0]} of {dtype}: use npz, npy or tiff"
            )
        self._suffix = {"tiff": ".tif"}.get(file_format, f".{file_format}")
        self._encode = WRITERS[file_format]

    def present(self) -> set[int]:
        if not self.folder.is_dir():
            return set()
        # A power cut can leave an empty file under the final name.
        names = (Path(entry.name) for entry in os.scandir(self.folder) if _has_content(entry))
        return {int(name.stem) for name in names if name.suffix == self._suffix and name.stem.isdecimal()}

    def write(self, index: Tensor, samples: Tensor) -> None:
        for i, image in zip(index.tolist(), samples.numpy().astype(self.dtype, copy=False), strict=True):
            # A file that a power cut truncated has no bytes and is generated again.
            with replacing(self._path(i), ADVICE, durable=False) as temporary:
                temporary.write_bytes(self._encode(image))

    def read(self, indices: Sequence[int]) -> Tensor:
        images = np.empty((len(indices), *self.shape), self.dtype)
        for row, i in enumerate(indices):
            try:
                content = self._path(i).read_bytes()
                if self.file_format == "npy":
                    array = np.load(io.BytesIO(content), allow_pickle=False)
                    images[row] = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
                else:
                    images[row] = open_picture(content).pixels(self.shape[0])
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"{self._path(i)} is damaged: delete it and run the same command again") from error
        return torch.from_numpy(images.astype(np.int32) if self.dtype == np.uint16 else images)

    def bytes_for(self, count: int) -> int:
        # Noise does not compress, and a file occupies whole blocks.
        size = math.prod(self.shape) * self.dtype.itemsize
        return count * (math.ceil((size * 1.01 + 1024) / 4096) * 4096)

    def finish(self) -> None:
        """Do nothing: every image has its own file."""

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}{self._suffix}"


def _has_content(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and entry.stat().st_size > 0
    except OSError:
        # A link to itself.
        return False


class NpzFiles(SampleFiles):
    """``<stem>_<first>-<last>.npz`` for every batch, joined into ``<stem>.npz`` at the end.

    Each file holds ``samples`` and ``index``. Images are stored as (N, H, W, C), the convention of this format, other
    samples unchanged. Arrays are uncompressed and read by memory mapping, so that a file need not fit into memory.

    Args:
        folder: output folder.
        stem: prefix of the file names.
        shape: (*d) of a sample.
        dtype: dtype of the stored numbers; uint16 is read as int32.
    """

    def __init__(self, folder: Path, stem: str, shape: Sequence[int], dtype: str) -> None:
        self.folder, self.stem = folder, stem
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    def present(self) -> set[int]:
        return set(self._where())

    def write(self, index: Tensor, samples: Tensor) -> None:
        if len(index) == 0:
            return
        name = f"{self.stem}_{int(index.min()):06d}-{int(index.max()):06d}.npz"
        write_npz(self.folder / name, {"samples": self._stored(samples), "index": index.numpy()}, ADVICE)

    def read(self, indices: Sequence[int]) -> Tensor:
        where = self._where()
        files = {path: map_member(path, "samples") for path in {where[i][0] for i in indices}}
        rows = [np.array(files[where[i][0]][where[i][1]]) for i in indices]
        array = np.stack(rows) if rows else np.empty((0, *self._stored_shape), self.dtype)
        stacked = torch.from_numpy(array.astype(np.int32) if array.dtype == np.uint16 else array)
        return stacked.movedim(-1, 1) if len(self.shape) == 3 else stacked

    def bytes_for(self, count: int) -> int:
        # The batches, the joined file, and the map through which it is filled.
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
        with refusals(target, ADVICE), temporary_next_to(self.folder / f"{self.stem}.npy") as flat:
            joined = np.lib.format.open_memmap(flat, "w+", self.dtype, shape)
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
        samples = map_member(path, "samples")
        for first in range(0, len(samples), _CHUNK):
            for row, i in enumerate(map_member(path, "index")[first : first + _CHUNK].tolist(), start=first):
                # A sample that is in two files is used once.
                if where[i] == (path, row):
                    joined[position[i]] = samples[row]

    def _where(self) -> dict[int, tuple[Path, int]]:
        """Return the file and the row of every index."""
        pattern = re.compile(rf"{re.escape(self.stem)}(_\d+-\d+)?\.npz")
        paths = sorted(path for path in self.folder.glob(f"{self.stem}*.npz") if pattern.fullmatch(path.name))
        return {i: (path, row) for path in paths for row, i in enumerate(map_member(path, "index").tolist())}

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        return (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape

    def _stored(self, samples: Tensor) -> np.ndarray:
        array = samples.movedim(1, -1).contiguous() if len(self.shape) == 3 else samples
        return array.numpy().astype(self.dtype, copy=False)
