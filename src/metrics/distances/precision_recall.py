"""Precision and recall of generative models (Kynkäänniemi et al. 2019, arXiv 1904.06991).

A set covers the union of balls around its members; the radius of each ball is the distance to the k-th nearest other
member. Precision is the share of generated samples inside the reference's balls, recall the share of reference samples
inside the generated balls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError
from ..intervals import Estimate, wilson_interval
from .base import MAIN
from .neighbors import NeighborMetric, cover, kth_distances, share_of_covered


class PrecisionRecall(NeighborMetric):
    """Improved precision and recall.

    Args:
        neighbors: k, 3 in the paper.
        batch, features: see NeighborMetric.
    """

    def __init__(self, neighbors: int = 3, batch: int = 1024, features: str = MAIN) -> None:
        super().__init__(neighbors, batch, features)

    @property
    def min_samples(self) -> int:
        """An image and its k neighbors."""
        return self.neighbors + 1

    def compute(self) -> dict[str, Tensor | Estimate]:
        # In float64: in float32, rounding would decide between near neighbors.
        real, generated = self.in_float64(self.reference.required_features()), self.in_float64(self.generated())
        if min(len(real), len(generated)) <= self.neighbors:
            raise UserError(f"precision and recall need more than {self.neighbors} images on each side")
        around_real, around_generated = (kth_distances(x, self.neighbors, self.batch) for x in (real, generated))
        in_real = cover(torch.cdist(rows, real) <= around_real for rows in torch.split(generated, self.batch))
        in_generated = cover(torch.cdist(rows, generated) <= around_generated for rows in torch.split(real, self.batch))
        return {
            self.named("precision"): wilson_interval(in_real.hit),
            self.named("recall"): share_of_covered(in_generated),
        }

    def notes(self, count: int) -> list[str]:
        real = len(self.reference.required_features())
        unequal = "" if real == count else f" on unequal counts ({count} generated, {real} reference)"
        return [f"precision and recall with k = {self.neighbors}{unequal}"]
