"""Are samples copies of training images? Images of the test split, which are not trained on, are the comparison.

Two measures on features (Stein et al. 2023, arXiv 2306.04675, "dgm-eval"):

- The calibrated distance ratio (Carlini et al. 2023, arXiv 2301.13188): the distance to the nearest training image
  over the mean distance to the nearest 50. A copy has a ratio near 0 also where training images lie close together.
- AuthPct (Alaa et al. 2022, arXiv 2102.08921): the percentage of samples whose nearest training image is closer to
  another training image than to the sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from .intervals import Estimate, wilson_interval

_BLOCK = 2**25
"""Number of elements of a distance matrix held at once."""


@dataclass(frozen=True)
class Memorization:
    """How close samples are to the training images, compared with the images of the test split.

    Args:
        ratio: (N,) calibrated distance ratio of each sample.
        nearest: (N, k) indices of the training images nearest to each sample, the nearest first.
        threshold: the ratio that ``quantile`` of the test images do not exceed.
        share: share of samples at or below the threshold.
        test_share: the same share of the test images, with its interval.
        auth_pct: percentage of authentic samples.
        test_auth_pct: percentage of authentic test images.
    """

    ratio: Tensor
    nearest: Tensor
    threshold: float
    share: Estimate
    test_share: Estimate
    auth_pct: Estimate
    test_auth_pct: Estimate

    @property
    def flagged(self) -> bool:
        """Whether the samples' share of near images exceeds the test images' share beyond both intervals."""
        return bool(self.share.low > self.test_share.high)


def memorization(
    samples: Tensor, train: Tensor, test: Tensor, neighbors: int = 50, quantile: float = 0.01
) -> Memorization:
    """Compare samples with the training images.

    Args:
        samples: features (N, d).
        train: features (M, d) of the images that the net was trained on.
        test: features (P, d) of images of the same distribution that it was not trained on.
        neighbors: number of neighbors of the calibrated ratio, at most M.
        quantile: share of test images that count as near.

    Raises:
        UserError: fewer than two images in one of the sets.
    """
    for name, features in (("samples", samples), ("training images", train), ("test images", test)):
        if len(features) < 2:
            raise UserError(f"{len(features)} {name} cannot be compared: give at least 2")
    k = min(neighbors, len(train))
    distance, nearest = _nearest(samples, train, k)
    test_distance, test_nearest = _nearest(test, train, k)
    # The first of the two nearest is the image itself, at distance 0, or a duplicate at the same distance.
    apart = _nearest(train, train, 2)[0][:, 1]
    ratio, test_ratio = _ratio(distance), _ratio(test_distance)
    threshold = test_ratio.quantile(quantile, interpolation="lower")
    return Memorization(
        ratio=ratio,
        nearest=nearest,
        threshold=float(threshold),
        share=wilson_interval(ratio <= threshold),
        test_share=wilson_interval(test_ratio <= threshold),
        auth_pct=_percent(apart[nearest[:, 0]] < distance[:, 0]),
        test_auth_pct=_percent(apart[test_nearest[:, 0]] < test_distance[:, 0]),
    )


def _nearest(points: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (N, k) of the k training images nearest to each point, in float64, so that copies have
    distance 0.
    """
    train = train.double()
    parts = [
        torch.cdist(rows.double(), train).topk(k, dim=1, largest=False)
        for rows in torch.split(points, max(1, _BLOCK // len(train)))
    ]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _ratio(distance: Tensor) -> Tensor:
    # If the k nearest are all at distance 0, so is the sample: it is a copy.
    ratio: Tensor = distance[:, 0] / distance.mean(dim=1).clamp(min=torch.finfo(distance.dtype).tiny)
    return ratio


def _percent(hits: Tensor) -> Estimate:
    return Estimate(*(100 * x for x in wilson_interval(hits)))
