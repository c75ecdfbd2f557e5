"""What is said at the end about many samples, kept in memory that does not grow with their number."""

from __future__ import annotations

import math

import torch

from ...distributed import gather_rows
from ...sampling.generation import FAR, GeneratedBatch


class Tally:
    """Counts over batches of samples; only samples that are not valid are remembered one by one.

    Attributes:
        count: samples so far.
        invalid: indices of those that are none.
        far: how many are valid and further out than ``FAR``.
        farthest: the largest magnitude among these.
    """

    def __init__(self) -> None:
        self.invalid: list[int] = []
        self.far = 0
        self.farthest = 0.0
        self.count = 0
        self._evaluations = 0
        self._least, self._most = math.inf, 0.0

    def add(self, batch: GeneratedBatch) -> None:
        """Count ``batch``."""
        if len(batch.index) == 0:
            return
        self.invalid += batch.index[~batch.valid].tolist()
        far = batch.reach[batch.valid & (batch.reach > FAR)]
        self.far += len(far)
        self.farthest = max([self.farthest, *far.tolist()])
        self.count += len(batch.index)
        self._evaluations += int(batch.nfe.sum())
        self._least = min(self._least, int(batch.nfe.min()))
        self._most = max(self._most, int(batch.nfe.max()))

    def gather(self) -> None:
        """From now on of the samples of all processes."""
        self.invalid = sorted(int(i) for i in gather_rows(torch.tensor(self.invalid, dtype=torch.int64)))
        sums = (self.far, self.count, self._evaluations)
        of_each = torch.tensor([[*sums, self.farthest, self._least, self._most]], dtype=torch.float64)
        far, count, evaluations, farthest, least, most = gather_rows(of_each).unbind(dim=1)
        self.far, self.count, self._evaluations = (int(part.sum()) for part in (far, count, evaluations))
        self.farthest, self._least, self._most = float(farthest.max()), float(least.min()), float(most.max())

    @property
    def nfe(self) -> dict[str, float] | None:
        """Evaluations of the net for a sample: mean, least, most; None without samples."""
        if not self.count:
            return None
        return {"mean": self._evaluations / self.count, "least": int(self._least), "most": int(self._most)}
