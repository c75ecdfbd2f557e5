"""Data whose scores and densities are known at every time, and noise that shows a sampler's response to each draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from src.sde import SDE


@dataclass(frozen=True)
class CorrelatedGaussian:
    """Exact score of data N(mean, covariance) in d dimensions; x of any shape with d elements per sample."""

    sde: SDE
    mean: Tensor
    covariance: Tensor

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        alpha, sigma = self.sde.alpha(t).reshape(-1, 1), self.sde.sigma(t).reshape(-1, 1)
        values, vectors = torch.linalg.eigh(self.covariance)
        difference = (x.flatten(1) - alpha * self.mean) @ vectors
        return -(difference / (alpha**2 * values + sigma**2) @ vectors.T).reshape(x.shape)

    def condition(self, h: Tensor, y: Tensor, noise_std: float) -> tuple[Tensor, Tensor]:
        """Return mean (d,) and covariance (d, d) of the data given y = h x + noise."""
        gram = h @ self.covariance @ h.T + noise_std**2 * torch.eye(len(h), dtype=h.dtype)
        gain = torch.linalg.solve(gram, h @ self.covariance).T
        return self.mean + gain @ (y - h @ self.mean), self.covariance - gain @ h @ self.covariance


@dataclass(frozen=True)
class Mixture:
    """Equal-weight Gaussians with means (K, d) and a common standard deviation."""

    sde: SDE
    means: Tensor
    std: float

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        with torch.enable_grad():
            u = x if x.requires_grad else x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.log_prob(u, t).sum(), u, create_graph=True)
        return gradient

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """Return log p_t(x), (B,)."""
        alpha, sigma = self.sde.alpha(t).reshape(-1, 1), self.sde.sigma(t).reshape(-1, 1)
        variance = alpha**2 * self.std**2 + sigma**2
        squares = (x[:, None] - alpha[..., None] * self.means).square().sum(2)
        terms = -0.5 * (squares / variance + x.shape[1] * torch.log(2 * math.pi * variance))
        return torch.logsumexp(terms, 1) - math.log(len(self.means))


class Impulses:
    """Noise source: sample k + 1 gets 1 as the k-th draw and 0 as every other; sample 0 gets only zeros."""

    def __init__(self) -> None:
        self.drawn = 1  # the starting point is the first

    def __call__(self, purpose: str, step: int, like: Tensor) -> Tensor:
        self.drawn += 1
        noise = torch.zeros_like(like)
        noise[self.drawn] = 1
        return noise
