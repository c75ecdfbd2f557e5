"""Bytes from floats, against the two rules written out."""

from __future__ import annotations

import pytest
import torch

from src.data_range import to_uint8
from src.errors import UserError


@pytest.mark.parametrize("data_range", ["unit", "centered"])
@pytest.mark.parametrize("mode", ["round", "truncate"])
def test_levels(data_range: str, mode: str) -> None:
    levels = torch.tensor([-40.0, -0.2, 0.0, 0.4, 0.6, 1.6, 127.4, 254.6, 255.4, 300.0, torch.nan])
    x = levels / 255 if data_range == "unit" else levels / 127.5 - 1
    expected = {
        "round": [0, 0, 0, 0, 1, 2, 127, 255, 255, 255, 0],
        "truncate": [0, 0, 0, 0, 0, 1, 127, 254, 255, 255, 0],
    }
    assert to_uint8(x, data_range, mode).tolist() == expected[mode]


def test_every_byte_survives_the_way_there_and_back() -> None:
    levels = torch.arange(256)
    assert torch.equal(to_uint8(levels / 255, "unit", "round"), levels.byte())


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(UserError, match="quantize=floor"):
        to_uint8(torch.zeros(1), "unit", "floor")
