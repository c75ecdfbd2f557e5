"""A configuration in a file must be a tree of plain values; others are refused in bounded time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from src.checkpoint.plain import check_plain
from src.errors import UserError


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = [value]
    return value


def doubled() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(100):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (cycle(), "nested"),
        (doubled(), "nested"),
        ({"a": ["${oc.env:HOME}"]}, "unresolved"),
        ({"${oc.env:HOME}": 1}, "unresolved"),
        ({1: 2}, "keys"),
        ({"a": 10**30}, "too large"),
        ({"a": "x" * 10**6}, "characters"),
        ({"a": torch.zeros(1)}, "Tensor"),
        ({"a": {1, 2}}, "set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_values_are_refused(value: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_plain(value, "a.ckpt", "give another")


def test_plain_values_are_accepted() -> None:
    check_plain({"a": [1, 2.5, None, True, "$x {y}"], "b": {"c": (1, [])}}, "a.ckpt", "give another")
