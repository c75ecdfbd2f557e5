"""Precision and recall of generative models (Kynkäänniemi et al. 2019, arXiv 1904.06991).

A set is taken to cover the union of balls around its members, each reaching to the k-th nearest other member.
Precision is the share of generated samples inside the reference's balls, recall the share of reference
samples inside the generated ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from .feature_metric import Measured, Reference


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall.

    Args:
        neighbours: k, 3 in the paper.
        batch: rows of the distance matrix held at once.
    """

    neighbours: int = 3
    batch: int = 1024

    needs_reference = True
    needs_reference_features = True

    @property
    def min_samples(self) -> int:
        """An image and its k neighbours."""
        return self.neighbours + 1

    def __call__(self, measured: Measured, reference: Reference | None) -> dict[str, float | list[float]]:
        assert reference is not None
        # float64, or rounding decides between near neighbours; mps does not have it.
        device = torch.device("cpu") if measured.device.type == "mps" else measured.device
        real, generated = (x.to(device).double() for x in (reference.required_features(), measured.features))
        if min(len(real), len(generated)) <= self.neighbours:
            raise UserError(f"precision and recall need more than {self.neighbours} images on each side")
        return {
            "precision": self._coverage(real, generated),
            "recall": self._coverage(generated, real),
        }

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        assert reference is not None
        real, generated = len(reference.required_features()), len(measured.features)
        unequal = "" if real == generated else f" on unequal counts ({generated} generated, {real} reference)"
        return [f"precision and recall with k = {self.neighbours}{unequal}"]

    def _coverage(self, members: Tensor, samples: Tensor) -> float:
        """Share of samples (N, d) within the balls of members (M, d)."""
        # The nearest member of all is the member itself, at distance 0.
        kth = self.neighbours + 1
        radii = torch.cat([torch.cdist(rows, members).kthvalue(kth).values for rows in self._rows(members)])
        inside = torch.cat([(torch.cdist(rows, members) <= radii).any(dim=1) for rows in self._rows(samples)])
        return float(inside.double().mean())

    def _rows(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.batch)
