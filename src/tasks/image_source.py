"""Read images to be scored: every format that training data may have, and folders written by sample.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..datamodules.reading import Source, open_source
from ..datamodules.reading.listing import check_file
from ..datamodules.reading.source import Row
from ..errors import UserError
from ..sinks.manifest import Manifest, load_manifest
from ..stored_values import BYTES, StoredValues, measured


class ImageSource:
    """Images in a fixed order, decoded as training decodes them, at their own size.

    Args:
        source: reader of the rows.

    Attributes:
        path: the path that the user gave.
        notes: what a reader of a score should know.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path, self.notes = source.path, source.notes

    def __len__(self) -> int:
        return len(self._source)

    @property
    def fingerprint(self) -> str:
        """A fingerprint that changes when the files change."""
        return self._source.fingerprint

    def values(self, data: StoredValues | None) -> StoredValues:
        """Return what the stored values mean.

        Args:
            data: values of the data that the images belong to; used if the images have the same dtype, otherwise the
                range is read from the images.
        """
        return data if data is not None and data.dtype == self._source.dtype else self._measured

    def batches(self, indices: Sequence[int], size: int, channels: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield indices (B,) int64 and stored values (B, *d): uint8, int32 (16 bits) or float32.

        Args:
            indices: indices in ascending order.
            size: largest B.
            channels: number of channels C; None for that of the first image.

        Raises:
            UserError: an image cannot be read, or its size differs from the first one's.
        """
        read = self._source.reader(channels)
        shape: tuple[int, ...] | None = None
        for first in range(0, len(indices), size):
            chosen = indices[first : first + size]
            rows = []
            for i in chosen:
                rows.append(row := self._row(read, i))
                shape = shape or row.shape
                if row.shape != shape and channels is None and row.shape[1:] == shape[1:]:
                    read = self._source.reader(shape[0])
                    rows[-1] = row = self._row(read, i)
                if row.shape != shape:
                    # Convert channels only if they differ.
                    there, others = (
                        "x".join(map(str, sides[1:] if row.shape[0] == shape[0] else sides))
                        for sides in (row.shape, shape)
                    )
                    raise UserError(
                        f"{self._source.name(i)} in {self.path} is {there}, others are {others}: give one size"
                    )
            yield torch.tensor(chosen), _tensor(np.stack(rows))

    def shape(self, channels: int | None) -> tuple[int, ...]:
        """(C, H, W) or (D,) of the first row."""
        return tuple(next(self.batches([0], 1, channels))[1].shape[1:])

    def _row(self, read: Row, i: int) -> np.ndarray:
        try:
            row = read(i)
            if not np.isfinite(row).all():
                raise ValueError("NaN or infinite values")
            return row
        # A decoder may raise any exception on damaged files.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self._source.name(i)} cannot be read ({reason}): remove it from {self.path} or replace it"
            ) from error

    @cached_property
    def _measured(self) -> StoredValues:
        if self._source.dtype == "uint8":
            return BYTES
        read = self._source.reader(None)
        rows = (self._row(read, i) for i in range(len(self)))
        ends = [(float(row.min()), float(row.max())) for row in rows]
        return measured(self._source.dtype, min(low for low, _ in ends), max(high for _, high in ends))


def open_images(path: str | Path, setting: str = "images") -> ImageSource:
    """Open the images at ``path``.

    Raises:
        UserError: it does not exist, has no images, or is still being written.
    """
    path = Path(path).expanduser()
    check_file(path, setting)
    manifest = manifest_of(path)
    if manifest is not None and manifest.status != "complete":
        raise UserError(f"{path} is not complete: repeat the command that samples into it, then score it")
    if path.is_dir() and manifest is not None:
        if (path / "images").is_dir():
            path = path / "images"
        elif (path / "samples.npz").is_file():
            path = path / "samples.npz"
    return ImageSource(open_source(path, setting))


def manifest_of(path: Path) -> Manifest | None:
    """What sample.py recorded about its images; None for other images."""
    folders = [path, path.parent] if path.is_dir() else [path.parent]
    return next((found for folder in folders if (found := load_manifest(folder)) is not None), None)


def _tensor(rows: np.ndarray) -> Tensor:
    if rows.dtype == np.uint16:
        return torch.from_numpy(rows.astype(np.int32))
    return torch.from_numpy(np.ascontiguousarray(rows.astype(np.float32) if rows.dtype == np.float16 else rows))
