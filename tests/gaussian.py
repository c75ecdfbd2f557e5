"""Gaussian data, for which every score, posterior and likelihood is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from src.sde import SDE, expand


@dataclass(frozen=True)
class GaussianScore:
    """The exact score of data N(mean, std^2 I) under ``sde``."""

    sde: SDE
    mean: float = 0.25
    std: float = 0.5

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return -(x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
