"""Collect samples in memory, few enough for a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..distributed import gather_rows
from ..sampling.batch import GeneratedBatch
from ..sampling.statistics import Statistics


class Collect:
    """Keep the samples of all processes, by index; complete on every process after ``finish``.

    Args:
        shape: (*d) of one sample.

    Attributes:
        samples: (N, *d) uint8 for images, float for other shapes, on the CPU.
        valid: (N,) bool.
        frames: (F, N, *d) of the trajectories; F = 0 if no trajectories were requested.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        dtype = torch.uint8 if len(shape) == 3 else torch.float32
        self.samples = torch.empty(0, *shape, dtype=dtype)
        self.valid = torch.empty(0, dtype=torch.bool)
        self.frames = torch.empty(0, 0, *shape, dtype=dtype)
        self._index = [torch.empty(0, dtype=torch.int64)]
        self._valid, self._samples, self._frames = [self.valid], [self.samples], list[Tensor]()

    def add(self, batch: GeneratedBatch) -> None:
        """Keep ``batch`` on the CPU."""
        self._index.append(batch.index)
        self._valid.append(batch.valid)
        self._samples.append(batch.shown.to("cpu", self.samples.dtype))
        if batch.trajectory is not None:
            self._frames.append(batch.trajectory.transpose(0, 1))

    def finish(self, statistics: Statistics) -> None:
        """Exchange samples between the processes."""
        order = gather_rows(torch.cat(self._index)).argsort()
        self.valid = gather_rows(torch.cat(self._valid))[order]
        self.samples = gather_rows(torch.cat(self._samples))[order]
        # A process without a share does not know the number of frames.
        count = int(gather_rows(torch.tensor([self._frames[0].shape[1] if self._frames else 0])).max())
        if count:
            empty = self.frames.new_empty(0, count, *self.frames.shape[2:])
            self.frames = gather_rows(torch.cat([empty, *self._frames]))[order].transpose(0, 1)

    def with_blanks(self) -> Tensor:
        """Return ``samples`` with a black image, or a point at NaN, in place of each invalid sample."""
        invalid = ~self.valid.reshape(-1, *(1,) * (self.samples.ndim - 1))
        return self.samples.masked_fill(invalid, 0 if self.samples.dtype == torch.uint8 else torch.nan)
