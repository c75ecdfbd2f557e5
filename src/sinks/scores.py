"""Score generated images with a metric suite while they are generated."""

from __future__ import annotations

from typing import Any

import torch

from ..distributed import failing_together, rank, world_size
from ..metrics import MetricSuite, Scores
from ..progress import Progress
from ..sampling.batch import GeneratedBatch
from ..sampling.generation import shard
from ..sampling.statistics import Statistics
from ..stored_values import StoredValues
from .store import SampleStore


class Scoring:
    """Pass valid images to a suite and compute its scores at the end.

    Args:
        suite: the metrics; reset before and after.
        reference: reference features from ``reference_of``.
        values: depth and range of the stored samples.
        quantize: how floats became stored values, ``round`` or ``truncate``.
        device: where the extractors run.

    Attributes:
        scores: None before the end, and if too few images are valid for the metrics.
    """

    def __init__(
        self, suite: MetricSuite, reference: Any, values: StoredValues, quantize: str, device: torch.device | str
    ) -> None:
        self.suite, self.reference = suite, reference
        self.quantization, self.device = values.scored_as(quantize), device
        self.scores: Scores | None = None
        self._stored = 0
        suite.reset()

    def add(self, batch: GeneratedBatch) -> None:
        """Extract features of the valid images of ``batch``."""
        self.suite.update(batch.shown[batch.valid].to(self.device), batch.index[batch.valid])

    def add_stored(self, store: SampleStore, indices: list[int], batch_size: int) -> None:
        """Extract features of stored images of an earlier call; every process calls it and reads its share.

        Raises:
            UserError: on every process, if a sample cannot be read.
        """
        mine = shard(indices, rank(), world_size())
        with failing_together(), Progress("scoring", len(indices), enabled=rank() == 0) as progress:
            for first in range(0, len(mine), batch_size):
                index = mine[first : first + batch_size]
                self.suite.update(store.values.to_bytes(store.read(index)).to(self.device), torch.tensor(index))
                progress.add(len(index) * len(indices) / len(mine))
        self._stored += len(indices)

    def finish(self, statistics: Statistics) -> None:
        """Compute the scores of the images of all processes."""
        if statistics.valid + self._stored >= self.suite.min_samples:
            self.scores = self.suite.compute(self.reference, quantization=self.quantization)
        self.suite.reset()
