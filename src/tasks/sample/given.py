"""Given data, from which samples are generated: parts are known, or the data are measured or encoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...io.hashing import bytes_hash
from ...stored_values import StoredValues, values_of
from .. import checkpoint_config
from ..image_source import open_images

_POINTS = 10_000
_READ = 64


class Given(ABC):
    """Data in a fixed order; sample i belongs to row i modulo the number of rows.

    Args:
        name: name of the split or file.
        count: number of rows.
        fingerprint: changes when the data change.
        data_range: data range of the model.
    """

    def __init__(self, name: str, count: int, fingerprint: str, data_range: str) -> None:
        self.name, self.count, self.fingerprint = name, count, fingerprint
        self.data_range = data_range

    def first(self, count: int | None) -> Given:
        """Keep only the first ``count`` rows (None: all) and return itself.

        Raises:
            UserError: there are fewer rows.
        """
        if count is not None:
            if not 1 <= count <= self.count:
                raise UserError(f"given_count={count}: choose 1 to {self.count}, the size of {self.name}")
            self.count = count
        return self

    def check(self, samples: int) -> None:
        """Read the rows that the first ``samples`` samples are generated from; raise UserError if one is unreadable."""
        count = min(samples, self.count)
        for first in range(0, count, _READ):
            self.rows(torch.arange(first, min(first + _READ, count)))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that identify the data."""
        return {"given": self.name, "given_count": self.count, "given_fingerprint": self.fingerprint}

    def __call__(self, index: Tensor) -> Tensor:
        """Return the data (B, *d) float of samples ``index`` (B,) int64, in the model's range, on its device."""
        return self.rows((index % self.count).cpu()).to(index.device)

    @abstractmethod
    def rows(self, rows: Tensor) -> Tensor:
        """Return the data (B, *d) float at ``rows`` (B,) int64, on the CPU."""


def open_given(spec: str, datamodule: Mapping[str, Any], shape: Sequence[int], data_range: str) -> Given:
    """Open the data that ``spec`` names.

    Args:
        spec: a split of the datamodule, or a path that ``open_images`` can read.
        datamodule: node of the checkpoint's data.
        shape: (*d) of a sample.
        data_range: data range of the model.

    Raises:
        UserError: ``spec`` does not exist, or its data have another shape.
    """
    spec = str(spec)
    path = Path(spec).expanduser()
    if path.suffix or len(path.parts) > 1 or path.is_dir():
        return _Files(path, shape, data_range, values_of(datamodule))
    module = checkpoint_config.build("datamodule", datamodule)
    # Every process checks by itself: this code must not wait for other processes, which may have failed.
    module.prepare_data()
    module.setup("test")
    return _Split(module, spec, data_range) if module.parts else _Points(module, spec, data_range)


class _Split(Given):
    def __init__(self, module: Any, split: str, data_range: str) -> None:
        self._images, self._values = module.images(split), module.values
        if not len(self._images):
            raise UserError(f"given={split}: this split has no rows, choose another")
        super().__init__(split, len(self._images), module.fingerprint(split), data_range)

    def rows(self, rows: Tensor) -> Tensor:
        chosen: Tensor = self._values.to_model(self._images.gather(rows), self.data_range)
        return chosen


class _Points(Given):
    """The points of a distribution that are used for evaluation."""

    def __init__(self, module: Any, split: str, data_range: str) -> None:
        self._points: Tensor = module.sample(_POINTS)
        super().__init__(split, _POINTS, bytes_hash(self._points.numpy().tobytes()), data_range)

    def rows(self, rows: Tensor) -> Tensor:
        return self._points[rows]


class _Files(Given):
    def __init__(self, path: Path, shape: Sequence[int], data_range: str, values: StoredValues) -> None:
        self._source = open_images(path, "given")
        self._channels = shape[0] if len(shape) == 3 else None
        found = self._source.shape(self._channels)
        if found != tuple(shape):
            raise UserError(f"given={path} holds images of shape {found}, the samples have {tuple(shape)}")
        self._values = self._source.values(values)
        super().__init__(str(path), len(self._source), self._source.fingerprint, data_range)

    def rows(self, rows: Tensor) -> Tensor:
        # The source is read in its own order.
        wanted, where = torch.unique(rows, return_inverse=True)
        ((_, images),) = self._source.batches(wanted.tolist(), len(wanted), self._channels)
        return self._values.to_model(images[where], self.data_range)
