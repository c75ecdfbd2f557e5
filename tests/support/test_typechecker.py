"""Annotations are checked for every kind of call, once in a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from src.stored_values import BYTES
from tests.support.configs import CONF
from tests.support.typechecker import forget_calls, once_per_call

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

    from tests.support.typechecker import check

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


def test_no_command_finds_bytecode_with_checks(tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    under_test = "import runpy; from tests.support import typechecker; typechecker.install('src'); "
    for code in (["-c", under_test + "runpy.run_module('src', run_name='imported')"], ["-m", "src", "--version"]):
        ended = subprocess.run([sys.executable, *code], env=variables, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
    # The next process finds the rewritten modules, and libraries where every process looks for them.
    own, place = f"-jaxtyping-{version('jaxtyping')}.pyc", tmp_path / CONF.parent.relative_to("/") / "src"
    rewritten = {path for path in tmp_path.rglob("*.pyc") if path.name.endswith(own)}
    assert place / f"__main__.{sys.implementation.cache_tag}{own}" in rewritten
    assert all(path.is_relative_to(place) for path in rewritten)
    assert not [path for path in tmp_path.rglob("*.pyc") if ".opt-jaxtyping" in path.name]
