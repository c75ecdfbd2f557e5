"""The simplest generative model: a Gaussian with the moments of the data. A score worth printing beats it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..noise import normal


def gaussian_baseline(images: Tensor, count: int, seed: int = 0) -> Tensor:
    """Samples of the Gaussian with the pixel mean and covariance of ``images``, clipped and rounded to bytes.

    Image i depends on (images, seed, i) alone. The covariance is (C H W)^2 in float64, so this is for small images.

    Args:
        images: (N, C, H, W) uint8, N >= 2.
        count: how many samples.
        seed: of their noise.

    Returns:
        (count, C, H, W) uint8.
    """
    pixels = images.flatten(1).double() / 255
    values, vectors = torch.linalg.eigh(pixels.T.cov())
    # The symmetric root, unlike the bare eigenvectors, is the same whatever signs the decomposition picks.
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    index = torch.arange(count, device=images.device)
    noise = normal(seed, "gaussian-baseline", 0, index, (pixels.shape[1],), torch.float64)
    samples = pixels.mean(dim=0) + noise @ root
    levels: Tensor = samples.clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).reshape(count, *images.shape[1:])
