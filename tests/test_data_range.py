"""Conversion of bytes to floats and back, compared with the written rules."""

from __future__ import annotations

import math

import pytest
import torch

from src.data_range import check_range, to_centered, width
from src.errors import UserError
from src.stored_values import BYTES

EVERY = torch.arange(256, dtype=torch.uint8)


def test_bytes_to_floats_in_both_ranges():
    ends = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert BYTES.to_model(ends, "unit").tolist() == pytest.approx([0, 0.2, 1])
    assert BYTES.to_model(ends, "centered").tolist() == pytest.approx([-1, -0.6, 1])


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_converting_there_and_back_returns_every_byte(data_range):
    assert torch.equal(BYTES.from_model(BYTES.to_model(EVERY, data_range), data_range), EVERY)


def test_round_and_truncate():
    x = torch.tensor([10.2, 10.6, 10.9, -3.0, 300.0]) / 255
    assert BYTES.from_model(x, "unit", "round").tolist() == [10, 11, 11, 0, 255]
    assert BYTES.from_model(x, "unit", "truncate").tolist() == [10, 10, 10, 0, 255]
    assert BYTES.from_model(2 * x - 1, "centered", "round").tolist() == [10, 11, 11, 0, 255]
    # As in Karras et al. 2022: 127.5 x + 128, clipped and truncated.
    y = torch.linspace(-1.1, 1.1, 997)
    assert torch.equal(BYTES.from_model(y, "centered"), (y * 127.5 + 128).clip(0, 255).to(torch.uint8))
    with pytest.raises(UserError, match="quantize=floor"):
        BYTES.from_model(x, "unit", "floor")


def test_dequantized_bytes_cover_the_range():
    u = torch.tensor([0.0, 0.25, 0.999])
    for data_range, low, size in (("unit", 0.0, 1.0), ("centered", -1.0, 2.0)):
        for byte in (0, 100, 255):
            x = BYTES.dequantize(torch.full((3,), byte, dtype=torch.uint8), data_range, u)
            assert torch.allclose(x, low + size * (byte + u) / 256, atol=1e-7)
            assert torch.equal(((x - low) / size * 256).floor(), torch.full((3,), float(byte)))


@pytest.mark.parametrize("data_range", ["unit", "centered"])
@pytest.mark.parametrize("mode", ["round", "truncate"])
def test_bytes_are_clipped_and_nan_becomes_zero(data_range: str, mode: str) -> None:
    levels = torch.tensor([-40.0, -0.2, 0.0, 0.4, 0.6, 1.6, 127.4, 254.6, 255.4, 300.0, torch.nan])
    x = levels / 255 if data_range == "unit" else levels / 127.5 - 1
    expected = {
        "round": [0, 0, 0, 0, 1, 2, 127, 255, 255, 255, 0],
        "truncate": [0, 0, 0, 0, 0, 1, 127, 254, 255, 255, 0],
    }
    assert BYTES.from_model(x, data_range, mode).tolist() == expected[mode]


def test_both_ranges_map_to_the_same_net_input() -> None:
    unit, centered = (BYTES.to_model(EVERY, data_range) for data_range in ("unit", "centered"))
    assert torch.allclose(to_centered(unit, "unit"), centered, atol=1e-6)


@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_a_flat_density_costs_eight_bits(data_range: str) -> None:
    assert math.log2(width(data_range)) + BYTES.bits_per_dim_offset(data_range) == 8


def test_an_unknown_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"guidance\.data_range=bytes: choose one of unit, centered"):
        check_range("bytes", "guidance.data_range")
