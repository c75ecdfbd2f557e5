"""Kernel distance (KID; Binkowski et al. 2018, "Demystifying MMD GANs").

Unbiased MMD^2 with k(x, y) = (x.y / d + 1)^3, averaged over random subsets. Unlike the Fréchet distance its
expectation does not depend on the number of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from ...errors import UserError
from ...noise import permutation
from .base import MAIN, FeatureMetric


class KernelDistance(FeatureMetric):
    """KID over addressed subsets: the same features give the same number, and no random state is touched.

    torchmetrics' own metric draws its subsets with the global ``torch.randperm``; the kernel is torchmetrics'.

    Args:
        subsets: how many subsets are averaged.
        subset_size: samples of each; sets smaller than this are used whole.
        seed: of the subsets.
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

    def compute(self) -> dict[str, Tensor]:
        generated, real = self.in_float64(self.generated()), self.in_float64(self.reference.required_features())
        size = self._size(len(generated))
        if size < 2:
            raise UserError("KID needs at least 2 images on each side: raise the number of samples")
        values = torch.stack(
            [
                poly_mmd(
                    real[permutation(self.seed, "kid-reference", step, len(real))[:size]],
                    generated[permutation(self.seed, "kid-generated", step, len(generated))[:size]],
                )
                for step in range(self.subsets)
            ]
        ).cpu()
        return {self.named("kid"): values.mean(), self.named("kid_std"): values.std(correction=0)}

    def _size(self, count: int) -> int:
        return min(self.subset_size, count, len(self.reference.required_features()))

    def notes(self, count: int) -> list[str]:
        return [f"KID over {self.subsets} subsets of {self._size(count)}"]
