"""Kernel distance (KID; Binkowski et al. 2018, "Demystifying MMD GANs").

Unbiased MMD^2 with k(x, y) = (x.y / d + 1)^3, averaged over random subsets. Unlike the Fréchet distance its
expectation does not depend on the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..noise import permutation
from .feature_metric import Measured, Reference


@dataclass(frozen=True)
class KernelDistance:
    """KID over addressed subsets: the same features give the same number, and no random state is touched.

    Args:
        subsets: how many subsets are averaged.
        subset_size: samples of each; sets smaller than this are used whole.
        seed: of the subsets.
    """

    subsets: int = 100
    subset_size: int = 1000
    seed: int = 0

    needs_reference = True
    needs_reference_features = True
    min_samples = 2

    def __call__(self, measured: Measured, reference: Reference | None) -> dict[str, float | list[float]]:
        assert reference is not None
        generated, real = measured.features.double(), reference.required_features().double()
        size = self._size(generated, real)
        if size < 2:
            raise UserError("KID needs at least 2 images on each side: raise the number of samples")
        values = torch.stack(
            [
                polynomial_mmd(
                    generated[permutation(self.seed, "kid-generated", step, len(generated))[:size]],
                    real[permutation(self.seed, "kid-reference", step, len(real))[:size]],
                )
                for step in range(self.subsets)
            ]
        )
        return {"kid": float(values.mean()), "kid_std": float(values.std(correction=0))}

    def _size(self, generated: Tensor, real: Tensor) -> int:
        return min(self.subset_size, len(generated), len(real))

    def notes(self, measured: Measured, reference: Reference | None) -> list[str]:
        assert reference is not None
        size = self._size(measured.features, reference.required_features())
        return [f"KID over {self.subsets} subsets of {size}"]


def polynomial_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased MMD^2 () of x (m, d) and y (n, d) under the cubic kernel of KID, m, n >= 2."""
    return _mean_of_pairs(_kernel(x, x)) + _mean_of_pairs(_kernel(y, y)) - 2 * _kernel(x, y).mean()


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    return (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
