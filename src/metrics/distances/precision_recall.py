"""Precision and recall of generative models (Kynkäänniemi et al. 2019, arXiv 1904.06991).

A set is taken to cover the union of balls around its members, each reaching to the k-th nearest other member.
Precision is the share of generated samples inside the reference's balls, recall the share of reference
samples inside the generated ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UserError
from .base import MAIN, FeatureMetric


class PrecisionRecall(FeatureMetric):
    """Improved precision and recall.

    Args:
        neighbours: k, 3 in the paper.
        batch: rows of the distance matrix held at once.
        features: name of the extractor.
    """

    higher_is_better = True
    needs_reference = True
    needs_reference_features = True

    def __init__(self, neighbours: int = 3, batch: int = 1024, features: str = MAIN) -> None:
        super().__init__(features)
        self.neighbours = neighbours
        self.batch = batch

    @property
    def min_samples(self) -> int:
        """An image and its k neighbors."""
        return self.neighbours + 1

    def compute(self) -> dict[str, Tensor]:
        # float64, or rounding decides between near neighbors.
        real, generated = self.in_float64(self.reference.required_features()), self.in_float64(self.generated())
        if min(len(real), len(generated)) <= self.neighbours:
            raise UserError(f"precision and recall need more than {self.neighbours} images on each side")
        return {
            self.named("precision"): self._coverage(real, generated),
            self.named("recall"): self._coverage(generated, real),
        }

    def notes(self, count: int) -> list[str]:
        real = len(self.reference.required_features())
        unequal = "" if real == count else f" on unequal counts ({count} generated, {real} reference)"
        return [f"precision and recall with k = {self.neighbours}{unequal}"]

    def _coverage(self, members: Tensor, samples: Tensor) -> Tensor:
        """Share () of samples (N, d) within the balls of members (M, d)."""
        # The nearest member of all is the member itself, at distance 0.
        kth = self.neighbours + 1
        members_in_parts, samples_in_parts = torch.split(members, self.batch), torch.split(samples, self.batch)
        radii = torch.cat([torch.cdist(rows, members).kthvalue(kth).values for rows in members_in_parts])
        inside = torch.cat([(torch.cdist(rows, members) <= radii).any(dim=1) for rows in samples_in_parts])
        return inside.double().mean().cpu()
