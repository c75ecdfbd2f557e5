"""The radial power spectrum of Gaussian random fields with a known spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from src.metrics.spectrum import RadialSpectrum, spectral_distance

COUNT = 400


def rings(height: int, width: int) -> Tensor:
    side = min(height, width)
    vertical, horizontal = (torch.fft.fftfreq(n, dtype=torch.float64) * side for n in (height, width))
    return torch.hypot(vertical[:, None], horizontal[None]).round()


def field(power: Tensor, count: int = COUNT) -> Tensor:
    """Return Gaussian fields (count, 2, H, W) with variance ``power`` (H, W) in each mode and mean 5."""
    white = torch.randn(count, 2, *power.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 5 + torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real


def measured(images: Tensor) -> Tensor:
    spectrum = RadialSpectrum(images.shape[1:])
    for batch in images.split(90):
        spectrum.update(batch)
    return spectrum.power


@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (9, 9)])
def test_a_known_spectrum_is_measured(shape: tuple[int, int]) -> None:
    k = rings(*shape)
    found = measured(field((1 + k) ** -3.0))
    expected = (1 + torch.arange(min(shape) // 2 + 1, dtype=torch.float64)) ** -3
    assert found.shape == expected.shape
    # |F|^2 of a mode has a relative spread of up to sqrt(2); real fields have pairs of equal modes.
    modes = torch.tensor([float((k == i).sum()) for i in range(len(expected))])
    error = math.sqrt(2) / (2 * COUNT * (modes / 2).clamp(min=1)).sqrt()
    assert ((found / expected - 1).abs() < 5 * error).all()


def test_white_noise_adds_its_variance_to_every_frequency() -> None:
    power = (1 + rings(16, 16)) ** -2.0
    smooth, noisy = measured(field(power)), measured(field(power + 0.1))
    expected = (1 + torch.arange(9, dtype=torch.float64)) ** -2
    # Both fields use the same white noise, so the ratio is exact.
    torch.testing.assert_close(noisy / smooth, (expected + 0.1) / expected, rtol=1e-6, atol=0)
    ratio = 10 * torch.log10((expected + 0.1) / expected)[1:]
    assert spectral_distance(noisy, smooth) == pytest.approx(float(ratio.square().mean().sqrt()), rel=1e-6)


def test_distances_in_decibels() -> None:
    power = torch.tensor([1.0, 2.0, 3.0])
    assert spectral_distance(power, power) == 0
    # A factor of two is 3 dB; frequency 0 (mean brightness) is ignored.
    assert spectral_distance(power * torch.tensor([9.0, 2.0, 2.0]), power) == pytest.approx(3.0103, abs=1e-4)
    assert math.isnan(spectral_distance(torch.zeros(3), power))
