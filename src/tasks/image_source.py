"""Images that someone made: a folder, a zip archive, npz files of this project, of EDM and ADM, of score_sde."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..datamodules.image_files import ImageFiles, find_images
from ..errors import UserError
from ..io.hashing import listing_hash
from ..io.npz import mapped, read_npz
from ..sinks.manifest import Manifest, load_manifest

_ARRAYS = ("samples", "arr_0", "images")
_LOSSY = (".jpg", ".jpeg", ".webp")


class ImageSource(ABC):
    """Images in a fixed order.

    Attributes:
        path: what the user named.
        notes: what a reader of a score should know.
    """

    path: Path
    notes: list[str]

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the files change."""

    @abstractmethod
    def batches(self, indices: Sequence[int], size: int, channels: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices (B,) int64 and images (B, C, H, W) uint8.

        Args:
            indices: ascending.
            size: B, at most.
            channels: C; None for that of the first image.

        Raises:
            UserError: an image that cannot be read, or is of another size than the first.
        """

    def shape(self, channels: int | None) -> tuple[int, ...]:
        """(C, H, W) of the first image."""
        return tuple(next(self.batches([0], 1, channels))[1].shape[1:])


def open_images(path: str | Path) -> ImageSource:
    """The images at ``path``.

    Raises:
        UserError: it does not exist, holds no images, or is still being written.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"images={path} does not exist: give a folder or zip archive of images, or an npz file")
    manifest = manifest_of(path)
    if manifest is not None and manifest.status != "complete":
        raise UserError(f"{path} is not complete: run the same sample.py command again, then score it")
    if path.is_dir():
        files = sorted(path.glob("samples*.npz"), key=lambda file: (len(file.name), file.name))
        if files:
            return _NpzSource(path, files)
        inside = path / "images"
        return _FileSource(find_images(inside if manifest is not None and inside.is_dir() else path))
    return _NpzSource(path, [path]) if path.suffix == ".npz" else _FileSource(find_images(path))


def manifest_of(path: Path) -> Manifest | None:
    """What sample.py says about images it has made; None for others."""
    folders = [path, path.parent] if path.is_dir() else [path.parent]
    return next((found for folder in folders if (found := load_manifest(folder)) is not None), None)


class _FileSource(ImageSource):
    def __init__(self, files: ImageFiles) -> None:
        self.path, self._files = files.path, files
        lossy = sum(name.lower().endswith(_LOSSY) for name in files.names)
        self.notes = [f"{lossy} images may be lossy (JPEG, WebP), which changes scores"] if lossy else []
        if files.ignored:
            self.notes.append(f"{files.ignored} files are no images and were left out")

    def __len__(self) -> int:
        return len(self._files.names)

    @property
    def fingerprint(self) -> str:
        if self.path.is_file():
            return listing_hash([self.path])
        return listing_hash([self.path / name for name in self._files.names])

    def batches(self, indices: Sequence[int], size: int, channels: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        read = self._files.reader()
        shape: tuple[int, ...] | None = None
        for first in range(0, len(indices), size):
            chosen = indices[first : first + size]
            images = []
            for i in chosen:
                name = self._files.names[i]
                pixels = _decode(read(name), name, channels or (None if shape is None else shape[0]))
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise UserError(
                        f"{name} in {self.path} is {_size(pixels.shape)}, others are {_size(shape)}: sort it out"
                    )
                images.append(torch.from_numpy(pixels))
            yield torch.tensor(chosen), torch.stack(images)


class _NpzSource(ImageSource):
    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path, self._paths = path, list(files)
        self._arrays = [_array(file) for file in files]
        self._ends = np.cumsum([len(array) for array in self._arrays]).tolist()
        self.notes: list[str] = []
        if len(self) == 0:
            raise UserError(f"{path} holds no images")

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def fingerprint(self) -> str:
        return listing_hash(self._paths)

    def batches(self, indices: Sequence[int], size: int, channels: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(indices), size):
            chosen = indices[first : first + size]
            rows = []
            for i in chosen:
                file = int(np.searchsorted(self._ends, i, side="right"))
                rows.append(np.array(self._arrays[file][i - (self._ends[file - 1] if file else 0)]))
            if len({row.shape for row in rows}) > 1:
                raise UserError(f"{self.path} holds images of several sizes: score them apart")
            images = _channels_first(np.stack(rows), self.path)
            if channels == 1 and images.shape[1] == 3:
                raise UserError(f"{self.path} holds colour images, and the data are grey: choose another datamodule")
            if channels == 3 and images.shape[1] == 1:
                images = images.repeat(3, axis=1)
            yield torch.tensor(chosen), torch.from_numpy(np.ascontiguousarray(images))


def _array(path: Path) -> np.ndarray:
    """The images of an npz file, mapped where they are not compressed."""
    for name in _ARRAYS:
        try:
            array = mapped(path, name)
            break
        except UserError:
            continue
    else:
        arrays = read_npz(path)
        name = next((name for name in _ARRAYS if name in arrays), "")
        if not name:
            raise UserError(
                f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}: images are expected as samples or arr_0"
            )
        array = arrays[name]
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise UserError(
            f"{path} holds {array.dtype} of shape {array.shape}: images are expected as uint8 (N, H, W, C); "
            "how floats become bytes is part of a score, so convert them first"
        )
    return array


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    if images.ndim == 3:
        return images[:, None]
    if images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    if images.shape[1] in (1, 3):
        return images
    raise UserError(f"{path} holds images of shape {images.shape[1:]}: one or three channels are expected")


def _decode(content: bytes, name: str, channels: int | None) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            channels = channels or (1 if image.mode in ("1", "L") else 3)
            pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name} cannot be read ({error}): remove it or make it again") from error
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy()


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[2]}"
