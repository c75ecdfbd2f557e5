"""Balls around the members of a set, which precision, recall, density and coverage count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..intervals import Estimate, normal_interval, wilson_interval
from .base import MAIN, FeatureMetric


class NeighborMetric(FeatureMetric):
    """A metric of balls that reach to the k-th nearest neighbor, with intervals for a given reference.

    Args:
        neighbors: k.
        batch: rows of the distance matrix held at once.
        features: name of the extractor.
    """

    higher_is_better = True
    needs_reference = True
    needs_reference_features = True

    def __init__(self, neighbors: int, batch: int = 1024, features: str = MAIN) -> None:
        super().__init__(features)
        self.neighbors = neighbors
        self.batch = batch


def kth_distances(members: Tensor, k: int, batch: int) -> Tensor:
    """Distance (M,) from each member (M, d) to its k-th nearest other member, computed ``batch`` rows at a time."""
    # The nearest member is the member itself, at distance 0.
    blocks = torch.split(members, batch)
    return torch.cat([torch.cdist(rows, members).kthvalue(k + 1).values for rows in blocks])


class Cover(NamedTuple):
    """Which points are covered by a set of samples.

    Args:
        hit: (P,) bool, whether any sample covers the point.
        sole: (N,) number of points that only this sample covers.
        covered: (N,) number of points that each sample covers.
    """

    hit: Tensor
    sole: Tensor
    covered: Tensor


def cover(blocks: Iterable[Tensor]) -> Cover:
    """Return the cover of P points by N samples.

    Args:
        blocks: rows (b, N) bool of the matrix that says which sample covers which point.
    """
    parts = []
    for block in blocks:
        covering = block.sum(dim=1)
        parts.append(Cover(covering > 0, block[covering == 1].sum(dim=0), block.sum(dim=0)))
    hits, sole, covered = zip(*parts, strict=True)
    return Cover(torch.cat(hits), torch.stack(sole).sum(dim=0), torch.stack(covered).sum(dim=0))


def share_of_covered(points: Cover) -> Estimate:
    """The share of covered points, with fixed points and random samples.

    The interval is the jackknife's: without a sample, exactly the points that only it covers are lost. On average it is
    never too short (Efron and Stein 1981). At shares 0 and 1 the jackknife gives no interval, so Wilson's interval over
    the points is used.
    """
    share, n, p = points.hit.double().mean(), len(points.sole), len(points.hit)
    if not 0 < float(share) < 1:
        return wilson_interval(points.hit)
    lost = points.sole.double() / p
    value, low, high = normal_interval(share, (n - 1) * lost.var(correction=0), least=0)
    return Estimate(value, low, high.clamp(max=1))
