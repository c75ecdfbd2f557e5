"""Density and coverage (Naeem et al. 2020, arXiv 2002.09797).

Both use balls around the reference images; the radius of each ball is the distance to the k-th nearest other reference
image. Density is the number of balls that contain a sample, divided by k; an outlier among the reference images hardly
raises it, unlike precision. Coverage is the share of balls that contain a sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError
from ..intervals import Estimate, normal_interval
from .base import MAIN
from .neighbors import NeighborMetric, cover, kth_distances, share_of_covered


class DensityCoverage(NeighborMetric):
    """Density and coverage.

    Args:
        neighbors: k, 5 in the paper.
        batch, features: see NeighborMetric.
    """

    def __init__(self, neighbors: int = 5, batch: int = 1024, features: str = MAIN) -> None:
        super().__init__(neighbors, batch, features)

    def compute(self) -> dict[str, Tensor | Estimate]:
        real, generated = self.in_float64(self.reference.required_features()), self.in_float64(self.generated())
        if len(real) <= self.neighbors:
            raise UserError(f"density and coverage need more than {self.neighbors} reference images: add images")
        radii = kth_distances(real, self.neighbors, self.batch)
        blocks = zip(torch.split(real, self.batch), torch.split(radii, self.batch), strict=True)
        points = cover(torch.cdist(rows, generated) <= reach[:, None] for rows, reach in blocks)
        density = points.covered.double() / self.neighbors
        return {
            self.named("density"): normal_interval(density.mean(), density.var() / len(density), least=0),
            self.named("coverage"): share_of_covered(points),
        }

    def notes(self, count: int) -> list[str]:
        return [f"density and coverage with k = {self.neighbors}"]
