"""Annotations are checked for every kind of call, once in a test."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import Float, TypeCheckError, install_import_hook
from torch import Tensor

from src.stored_values import BYTES
from tests.support.typechecker import check, forget_calls, once_per_call

KINDS = (
    (torch.ones(2), torch.ones(3)),
    (torch.ones(2), torch.ones(2, dtype=torch.float64)),
    (torch.ones(2), 2.0),
    (1, 1.0),
    ("a", "b"),
    ((1, 1), (1, 1.0)),
    ({"a": torch.ones(1)}, {"a": torch.ones(2)}),
    ({"a": 1}, {"b": 1}),
)


def test_a_call_is_checked_if_its_arguments_are_of_another_kind() -> None:
    checked: list[dict[str, Any]] = []

    def check(function: Callable[..., None]) -> Callable[..., None]:
        return lambda *args, **kwargs: checked.append({"args": args, **kwargs})

    for first, second in KINDS:

        def given(x: object, *, y: object = None) -> None:
            pass

        forget_calls()
        checked.clear()
        counted = once_per_call(given, check)
        for _ in range(2):
            counted(first)
            counted(second)
            counted(first, y=second)
        assert checked == [{"args": (first,)}, {"args": (second,)}, {"args": (first,), "y": second}]
        forget_calls()
        counted(second)
        assert len(checked) == 4


def test_wrong_arguments_and_results_are_refused() -> None:
    from jaxtyping import jaxtyped  # replaced by conftest

    @jaxtyped(typechecker=check)
    def halves(x: Float[Tensor, "b 2"], right: bool) -> Float[Tensor, "b 2"]:
        return x if right else x[:, :1]

    for _ in range(2):
        halves(torch.ones(3, 2), True)
        with pytest.raises(TypeCheckError, match="return value"):
            halves(torch.ones(4, 2), False)
        with pytest.raises(TypeCheckError, match="parameters"):
            halves(torch.ones(3, 3), True)


def test_the_package_is_checked() -> None:
    with pytest.raises(TypeCheckError):
        BYTES.from_model("text", "unit")  # type: ignore[arg-type]


def test_no_command_finds_bytecode_with_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_module.py").write_text("import library_of_it\n")
    (tmp_path / "library_of_it.py").write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    with install_import_hook("checked_module", f"{check.__module__}.check"):
        importlib.import_module("checked_module")
        # A command's main module is loaded in another way.
        runpy.run_module("checked_module", run_name="imported")
    # The next process finds the rewritten module, and the library where every process looks for it.
    tag = sys.implementation.cache_tag
    names = {f"checked_module.{tag}-jaxtyping-{version('jaxtyping')}.pyc", f"library_of_it.{tag}.pyc"}
    assert {path.name for path in tmp_path.rglob("*.pyc")} == names
