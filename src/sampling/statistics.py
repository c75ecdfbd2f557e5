"""Counts over many samples, in memory of constant size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ..distributed import gather_rows
from .batch import GeneratedBatch

FAR = 100.0
"""Data lie within a few units. Warn above this magnitude: undertrained nets produce such samples."""


@dataclass
class Statistics:
    """Counts of generated samples; only the indices of invalid samples are listed.

    Attributes:
        count: number of samples.
        invalid: indices of samples that diverged or are not finite.
        far: number of valid samples of a magnitude above ``FAR``.
        farthest: the largest magnitude among these.
        evaluations: total evaluations of the net.
        least: smallest NFE of a sample.
        most: largest NFE of a sample.
        seconds: time of the sampler, summed over devices.
    """

    count: int = 0
    invalid: list[int] = field(default_factory=list)
    far: int = 0
    farthest: float = 0.0
    evaluations: int = 0
    least: float = math.inf
    most: float = 0.0
    seconds: float = 0.0

    def add(self, batch: GeneratedBatch, seconds: float = 0.0) -> None:
        """Count ``batch``, which took ``seconds``."""
        self.seconds += seconds
        if len(batch.index) == 0:
            return
        self.count += len(batch.index)
        self.invalid += batch.index[~batch.valid].tolist()
        far = batch.reach[batch.valid & (batch.reach > FAR)]
        self.far += len(far)
        self.farthest = max([self.farthest, *far.tolist()])
        self.evaluations += int(batch.nfe.sum())
        self.least = min(self.least, int(batch.nfe.min()))
        self.most = max(self.most, int(batch.nfe.max()))

    def gathered(self) -> Statistics:
        """Return the sum over all processes; every process calls it."""
        invalid = sorted(int(i) for i in gather_rows(torch.tensor(self.invalid, dtype=torch.int64)))
        own = [self.count, self.far, self.farthest, self.evaluations, self.least, self.most, self.seconds]
        count, far, farthest, evaluations, least, most, seconds = gather_rows(
            torch.tensor([own], dtype=torch.float64)
        ).unbind(dim=1)
        return Statistics(
            int(count.sum()),
            invalid,
            int(far.sum()),
            float(farthest.max()),
            int(evaluations.sum()),
            float(least.min()),
            float(most.max()),
            float(seconds.sum()),
        )

    @property
    def valid(self) -> int:
        """Number of valid samples."""
        return self.count - len(self.invalid)

    @property
    def nfe(self) -> dict[str, float] | None:
        """Mean, smallest and largest NFE of a sample; None without samples."""
        if not self.count:
            return None
        return {"mean": self.evaluations / self.count, "least": int(self.least), "most": int(self.most)}
