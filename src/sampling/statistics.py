"""Counts over many samples, kept in memory that does not grow with their number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..distributed import gather_rows

if TYPE_CHECKING:
    from .generation import GeneratedBatch

FAR = 100.0
"""Data lie within a few units. Warn above this magnitude: undertrained nets produce such samples."""


@dataclass
class Statistics:
    """Counts of generated samples; only invalid samples are remembered one by one.

    Attributes:
        count: samples made.
        invalid: indices of samples that diverged or are not finite.
        far: how many valid samples are further out than ``FAR``.
        farthest: the largest magnitude among these.
        evaluations: evaluations of the net over all samples.
        least: evaluations for the cheapest sample.
        most: evaluations for the most expensive sample.
        seconds: time that the sampler took, added up over devices.
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
        """The counts of all processes together; every process calls it."""
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
        """How many samples are valid."""
        return self.count - len(self.invalid)

    @property
    def nfe(self) -> dict[str, float] | None:
        """Evaluations of the net per sample: mean, least, most; None without samples."""
        if not self.count:
            return None
        return {"mean": self.evaluations / self.count, "least": int(self.least), "most": int(self.most)}
