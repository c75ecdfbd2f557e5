"""Kernel distance (KID; Binkowski et al. 2018, "Demystifying MMD GANs").

Unbiased MMD^2 with k(x, y) = (x.y / d + 1)^3, averaged over random subsets. Unlike the Fréchet distance its
expectation does not depend on the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

from ...errors import UserError
from ...noise import permutation
from ..intervals import Estimate, normal_interval
from .base import MAIN, FeatureMetric


class KernelDistance(FeatureMetric):
    """KID over addressed subsets: the same features give the same number, and no random state is touched.

    Kernel and estimator are those of torchmetrics, whose own metric draws subsets with the global ``torch.randperm``.

    The interval holds the distance between the two distributions: the samples of both sides are taken to be random.
    Its variance is that of the U-statistic (Hoeffding 1948) to the second order, and that of the choice of the subsets.
    All of it comes from the kernel matrices that give the value.

    Args:
        subsets: number of subsets that are averaged.
        subset_size: number of samples in each subset; smaller sets are used whole.
        seed: seed of the subsets.
        features: name of the extractor.
    """

    higher_is_better = False
    needs_reference = True
    needs_reference_features = True

    def __init__(self, subsets: int = 100, subset_size: int = 1000, seed: int = 0, features: str = MAIN) -> None:
        super().__init__(features)
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed

    def compute(self) -> dict[str, Tensor | Estimate]:
        generated, real = self.in_float64(self.generated()), self.in_float64(self.reference.required_features())
        size = self._size(len(generated))
        if size < 2:
            raise UserError("KID needs at least 2 images on each side: raise the number of samples")
        subsets = [
            _mmd(
                generated[permutation(self.seed, "kid-generated", step, len(generated))[:size]],
                real[permutation(self.seed, "kid-reference", step, len(real))[:size]],
            )
            for step in range(self.subsets)
        ]
        kid = torch.stack([subset.value for subset in subsets])
        variance = _variance(subsets, size, len(generated), len(real))
        if size < max(len(generated), len(real)):
            variance = variance + kid.var(correction=0) / self.subsets
        return {
            self.named("kid"): normal_interval(kid.mean(), variance),
            self.named("kid_std"): kid.std(correction=0).cpu(),
        }

    def _size(self, count: int) -> int:
        return min(self.subset_size, count, len(self.reference.required_features()))

    def notes(self, count: int) -> list[str]:
        return [f"KID over {self.subsets} subsets of {self._size(count)}"]


class _Subset(NamedTuple):
    """MMD^2 of a subset; the variances over x and y of the kernel averaged over the other side, and of the rest."""

    value: Tensor
    of_x: Tensor
    of_y: Tensor
    rest_xx: Tensor
    rest_xy: Tensor
    rest_yy: Tensor


def _mmd(x: Tensor, y: Tensor) -> _Subset:
    """Unbiased MMD^2 of x (m, d) and y (m, d), with the terms of its variance."""
    k_xx, k_xy, k_yy = poly_kernel(x, x), poly_kernel(x, y), poly_kernel(y, y)
    of_x = _mean_to_others(k_xx) - k_xy.mean(dim=1)
    of_y = _mean_to_others(k_yy) - k_xy.mean(dim=0)
    value = maximum_mean_discrepancy(k_xx, k_xy, k_yy)
    return _Subset(value, of_x.var(), of_y.var(), _rest(k_xx, symmetric=True), _rest(k_xy), _rest(k_yy, symmetric=True))


def _mean_to_others(kernel: Tensor) -> Tensor:
    means: Tensor = (kernel.sum(dim=1) - kernel.diagonal()) / (len(kernel) - 1)
    return means


def _rest(kernel: Tensor, symmetric: bool = False) -> Tensor:
    """Mean square () of a kernel matrix minus row and column means, without the diagonal if both sides agree."""
    if not symmetric:
        return (kernel - kernel.mean(dim=1, keepdim=True) - kernel.mean(dim=0) + kernel.mean()).square().mean()
    means = _mean_to_others(kernel)
    rest = (kernel - means[:, None] - means + means.mean()).square()
    count = len(kernel)
    return (rest.sum() - rest.trace()) / (count * (count - 1))


def _variance(subsets: Sequence[_Subset], size: int, n: int, m: int) -> Tensor:
    """Variance () of MMD^2 of all n and m samples, from subsets of ``size`` of each (Hoeffding 1948)."""
    mean = _Subset(*(torch.stack(parts).mean() for parts in zip(*subsets, strict=True)))
    # Means over a finite subset also vary by chance, which is not part of the first-order variance.
    first_x = mean.of_x - mean.rest_xx / (size - 1) - mean.rest_xy / size
    first_y = mean.of_y - mean.rest_yy / (size - 1) - mean.rest_xy / size
    second = 2 * mean.rest_xx / n**2 + 2 * mean.rest_yy / m**2 + 4 * mean.rest_xy / (n * m)
    return (4 * first_x / n + 4 * first_y / m).clamp(min=0) + second
