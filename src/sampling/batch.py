"""What a ``Generation`` yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GeneratedBatch:
    """Samples with their addresses.

    Attributes:
        index: (B,) int64, on the CPU.
        samples: (B, *d) float in the range of the data, not clipped, on the device of the net.
        stored: (B, *d) values to write, at the depth and range of the data.
        shown: (B, *d) values to score and to draw: uint8 for images (B, C, H, W), ``stored`` for other shapes.
        nfe: (B,) int64 on the CPU, evaluations of the net for each sample.
        reach: (B,) float on the CPU, largest magnitude in each sample.
        valid: (B,) bool on the CPU: whether the sample is finite and within ``generation.DIVERGED``.
        trajectory: (F, B, *d) noise-free states on the way, on the CPU, of the kind of ``shown``, or None.
    """

    index: Tensor
    samples: Tensor
    stored: Tensor
    shown: Tensor
    nfe: Tensor
    reach: Tensor
    valid: Tensor
    trajectory: Tensor | None = None

    def first(self, count: int) -> GeneratedBatch:
        """Return the first ``count`` samples."""
        return GeneratedBatch(
            self.index[:count],
            self.samples[:count],
            self.stored[:count],
            self.shown[:count],
            self.nfe[:count],
            self.reach[:count],
            self.valid[:count],
            None if self.trajectory is None else self.trajectory[:, :count],
        )
