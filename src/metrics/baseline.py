"""The simplest generative model: a Gaussian with the moments of the data. A useful model has a better score."""

from __future__ import annotations

import torch
from torch import Tensor

from ..noise import normal
from ..stored_values import BYTES


def gaussian_baseline(images: Tensor, count: int, seed: int = 0) -> Tensor:
    """Return samples of the Gaussian with the pixel mean and covariance of ``images``, clipped and rounded to uint8.

    Image i depends only on (images, seed, i). The covariance is (C H W)^2 in float64, so this is for small images.

    Args:
        images: (N, C, H, W) uint8, N >= 2.
        count: number of samples.
        seed: seed of the samples' noise.

    Returns:
        (count, C, H, W) uint8.
    """
    pixels = images.flatten(1).double() / 255
    values, vectors = torch.linalg.eigh(pixels.T.cov())
    # The symmetric root, unlike the eigenvectors alone, does not depend on the signs that the decomposition chooses.
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    index = torch.arange(count, device=images.device)
    noise = normal(seed, "gaussian-baseline", 0, index, (pixels.shape[1],), torch.float64)
    samples = pixels.mean(dim=0) + noise @ root
    return BYTES.from_model(samples, "unit").reshape(count, *images.shape[1:])
