"""The radially averaged power spectrum of a set of images, and the distance between two spectra.

With F the orthonormal discrete Fourier transform of an image minus its channel's mean over the set, P(k) is the mean of
|F|^2 over images, channels and all modes whose frequency rounds to k, in periods per shorter side, 0 to half of it.
White noise of variance v has P = v at every k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..runtime.precision import widest_float


class RadialSpectrum:
    """Sums over batches; ``power`` at the end.

    Args:
        shape: (C, H, W) of the images.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        channels, height, width = shape
        side = min(height, width)
        vertical = torch.fft.fftfreq(height, dtype=torch.float64)[:, None] * side
        horizontal = torch.fft.fftfreq(width, dtype=torch.float64)[None] * side
        # Corners beyond half the shorter side contain modes in a few directions only.
        self.k = torch.arange(side // 2 + 1)
        self._ring = torch.hypot(vertical, horizontal).round().long()
        self._squares = torch.zeros(channels, height, width, dtype=torch.float64)
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._count = 0

    def update(self, images: Float[Tensor, "b c h w"]) -> None:
        """Add images, floats of any range."""
        x = images.to(widest_float(images.device))
        modes = torch.fft.fft2(x, norm="ortho").abs().square().sum(0)
        self._squares += modes.cpu().double()
        self._sum += x.sum((0, 2, 3)).cpu().double()
        self._count += len(images)

    @property
    def power(self) -> Float[Tensor, " k"]:
        """P at ``k``, float64, in squared units of the images."""
        squares = self._squares / self._count
        height, width = self._ring.shape
        # The channel means contribute only to the mode of frequency zero.
        squares[:, 0, 0] -= (self._sum / (self._count * height * width)).square() * height * width
        rings = self._ring.flatten()
        total = torch.zeros(int(rings.max()) + 1, dtype=torch.float64).index_add_(0, rings, squares.mean(0).flatten())
        return (total / rings.bincount())[: len(self.k)].clamp(min=0)


def spectral_distance(power: Float[Tensor, " k"], reference: Float[Tensor, " k"]) -> float:
    """Root mean square over k >= 1 of 10 log10 of the ratio, in dB; 0 for equal spectra, 3 for a factor of two."""
    both = (power[1:] > 0) & (reference[1:] > 0)
    if not both.any():
        return math.nan
    ratio = 10 * torch.log10(power[1:][both] / reference[1:][both])
    return float(ratio.square().mean().sqrt())
