"""Values of the wrong type are found with the annotations of their parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from src.config.annotations import mismatch
from src.config.build import build
from src.errors import UserError


class Base:
    def __init__(self, *, width: int = 8, name: str = "a") -> None:
        pass


class Part(Base):
    def __init__(
        self,
        rate: float = 0.1,
        limit: float = math.inf,
        sizes: Sequence[int] = (1, 2),
        pair: tuple[float, float] = (0.9, 0.999),
        mode: bool | str | None = None,
        kind: Literal["a", "b"] = "a",
        path: str | Path | None = None,
        inner: torch.nn.Module | None = None,
        named: Mapping[str, int] | None = None,
        anything: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)


VALID = {
    "width": [8, -1],
    "rate": [1, 0.5],
    "limit": [math.inf, 2],
    "sizes": [[], [1], (1, 2)],
    "pair": [[0.5, 1]],
    "mode": [True, "fast", None],
    "kind": ["a", "b"],
    "path": ["x", Path("x"), None],
    "inner": [None, torch.nn.Identity()],
    "named": [{}, {"a": 1}, None],
    "anything": [7, "x", [1]],
}
WRONG = {
    "width": ["many", 1.5, True, None, math.nan, 2**63, [1]],
    "rate": ["fast", True, None, math.nan, math.inf],
    "limit": [math.nan, "x"],
    "sizes": [3, "12", [1.5], ["a"], {}],
    "pair": [[0.5], 0.9, [0.1, "x"]],
    "mode": [7, 0.5],
    "kind": ["c", 1],
    "inner": ["x", 3, True],
    "named": ["x", 3, [1], {"a": "x"}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALID.items() for value in values])
def test_valid_values_are_accepted(name: str, value: Any) -> None:
    assert mismatch(Part, {name: value}) is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_invalid_values_are_found(name: str, value: Any) -> None:
    found = mismatch(Part, {name: value})
    assert found is not None and found[0].partition(".")[0] == name and found[2].startswith("give ")


def test_messages_say_what_to_type() -> None:
    assert mismatch(Part, {"width": 2e3}) == ("width", 2e3, "give a whole number, for example 2000")
    found = mismatch(Part, {"rate": math.nan})
    assert found is not None and found[2] == "give a finite number"
    assert mismatch(Part, {"named": {"a": 1, "b": "x"}}) == ("named.b", "x", "give a whole number")
    assert mismatch(Part, {"pair": [1.0]}) == ("pair", [1.0], "give a list of 2 values")
    assert mismatch(torch.optim.Adam, {"lr": "abc"}) == ("lr", "abc", "give a number, for example 0.001")


def test_build_reports_the_full_setting_name() -> None:
    with pytest.raises(UserError, match=r"optimizer\.betas=\[0\.9\]: give a list of 2 values"):
        build({"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.9]}, "optimizer")
