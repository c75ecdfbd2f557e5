"""Vectors and signals of the user, for ``net=mlp``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from .image_folder import ImageFolderDataModule
from .reading.source import Source


class VectorDataModule(ImageFolderDataModule):
    """Rows of an array (N, D), or of any array (N, ...), whose rows are flattened to vectors.

    Args:
        path: a npy, npz, zarr or parquet file.
        dim: D, verified.
        settings: those of ImageFolderDataModule but ``image_size`` and ``channels``.

    Raises:
        UserError: settings that only images have.
    """

    def __init__(self, *, path: str | Path, dim: int, **settings: Any) -> None:
        self.dim = dim
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise UserError(f"datamodule.dim={dim}: give the length of the vectors")
        super().__init__(path=path, image_size=1, channels=dim, **settings)
        if self.random_flip or self.augmentation is not None:
            raise UserError(
                "vectors are not flipped or augmented: set datamodule.random_flip=false, leave augmentation out"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (D,) of a vector."""
        return (self.dim,)

    def _check_shape(self, source: Source) -> None:
        (found,) = source.shapes([0]) or [(0,)]
        length = 1
        for side in found:
            length *= side
        if length != self.dim:
            raise UserError(f"{self.path} holds rows of shape {found}, {length} numbers: set datamodule.dim={length}")

    def _wrong_shape(self, found: tuple[int, ...]) -> str:
        return f"the data hold vectors of length {found[0]}, but datamodule.dim={self.dim}"
