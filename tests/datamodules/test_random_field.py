"""Bits per dim of a 16-bit Gaussian random field, compared with the closed form of its power spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.datamodules.image_folder import ImageFolderDataModule
from src.noise import Address
from src.sampling.ode.bits_per_dim import BitsPerDim
from src.sampling.ode.likelihood import Likelihood
from src.sde import EDMSDE, SDE
from src.stored_values import StoredValues

SIDE, COUNT, MEAN, STD = 8, 24, 20_000.0, 2500.0


def spectrum() -> Tensor:
    """Return the variance of each Fourier mode, (SIDE, SIDE), falling as k^-3; the mean variance of a pixel is 1."""
    k = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=torch.float64)
    power = (1 + k[:, None] ** 2 + k[None] ** 2) ** -1.5
    return power / power.mean()


def fields() -> np.ndarray:
    """Return fields as uint16 (COUNT, SIDE, SIDE)."""
    white = torch.randn(COUNT, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    colored = torch.fft.ifft2(torch.fft.fft2(white) * spectrum().sqrt()).real
    return (MEAN + STD * colored).round().numpy().astype(np.uint16)


@dataclass(frozen=True)
class FieldScore:
    """Exact score of the field in the model's data range, diagonal in the Fourier basis."""

    sde: SDE
    values: StoredValues
    data_range: str

    @property
    def scale(self) -> float:
        """One level in units of the model, without dequantization."""
        return self.values.unit(self.data_range)

    def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        sigma = self.sde.sigma(t).reshape(-1, 1, 1, 1).to(x.dtype)
        low = 0.0 if self.data_range == "unit" else -1.0
        # Dequantized levels k + u have a mean half a level higher and 1/12 more variance.
        mean = low + (MEAN + 0.5) * self.scale
        variance = (STD**2 * spectrum() + 1 / 12).to(x.dtype) * self.scale**2
        return -torch.fft.ifft2(torch.fft.fft2(x - mean) / (variance + sigma**2)).real


def closed_form(stored: np.ndarray) -> float:
    """Return the mean bits per dim of the levels."""
    modes = torch.fft.fft2(torch.from_numpy(stored.astype(np.float64)) - MEAN, norm="ortho").abs() ** 2
    variance = STD**2 * spectrum() + 1 / 12
    nats = 0.5 * (modes / variance + (2 * math.pi * variance).log())
    return float(nats.mean() / math.log(2))


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_bits_per_dim_match_the_closed_form(data_range: str, tmp_path: Path) -> None:
    stored = fields()
    np.save(tmp_path / "fields.npy", stored)
    module = ImageFolderDataModule(
        path=tmp_path / "fields.npy",
        image_size=SIDE,
        channels=1,
        data_dir=tmp_path / "data",
        data_range=data_range,
        eval_batch_size=COUNT,
        val_fraction=0.0,
        test_split="train",
    )
    module.setup("test")
    # The values need more than 12 bits, so the range is 16 bits.
    assert module.values == StoredValues("uint16", 0, 65535) and module.values.name == "16 bits"
    batch = module.on_after_batch_transfer(next(iter(module.test_dataloader())), 0)
    model = FieldScore(EDMSDE(T=80.0), module.values, data_range)
    likelihood = Likelihood(divergence="exact", rtol=1e-4, atol=1e-5, data_range=data_range)
    measure = BitsPerDim(likelihood).for_data(module.values, data_range)
    assert measure.unit == "16 bits, uniform dequantization"
    bits = measure(model, batch["x"], Address(0, 0, batch["index"]))
    expected = closed_form(stored)
    assert float(bits.mean()) == pytest.approx(expected, abs=0.02)
    # The entropy in bits, well below the 16 bits of the container and above 8.
    assert 10 < expected < 14


def test_float_data_have_a_density_per_data_unit() -> None:
    values = StoredValues("float32", -50.0, 150.0)
    likelihood = Likelihood(divergence="exact", data_range="centered")
    measure = BitsPerDim(likelihood).for_data(values, "centered")

    @dataclass(frozen=True)
    class Score:
        sde: SDE

        def __call__(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
            # N(50, 10^2) is N(0, 0.1^2) in [-1, 1].
            return -x / (0.01 + self.sde.sigma(t).reshape(-1, 1).to(x.dtype) ** 2)

    stored = 50 + 10 * torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    bits = measure(Score(EDMSDE(T=80.0)), values.to_model(stored, "centered"), Address(0, 0, torch.arange(64)))
    nats = 0.5 * ((stored - 50) / 10).square() + math.log(10 * math.sqrt(2 * math.pi))
    assert bits.tolist() == pytest.approx((nats[:, 0] / math.log(2)).tolist(), abs=2e-3)
    assert measure.unit == "density per unit of float32 in [-50, 150]" and not measure.dequantize
