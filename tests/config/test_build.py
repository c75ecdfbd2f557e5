"""Build objects from plain nodes: nested, partial, by package name; mistakes give one line."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from src.config.build import build, located, nearest
from src.errors import UserError
from src.sampling.solvers.schedule import LinearGrid
from src.sde import VESDE


def test_nested_nodes_are_built_and_other_values_kept() -> None:
    text = "${oc.env:HOME}"
    built = build({"sde": {"_target_": "src.sde.VESDE", "sigma_max": 7.0}, "others": [1, {"text": text}]})
    assert built == {"sde": VESDE(sigma_max=7.0), "others": [1, {"text": text}]}


def test_partial_nodes() -> None:
    made = build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5})
    assert isinstance(made, partial)
    assert made([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 0.5


def test_keyword_arguments_override_the_node() -> None:
    assert build({"_target_": "src.sde.VESDE", "sigma_max": 7.0}, sigma_max=8.0) == VESDE(sigma_max=8.0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "src.sde.VESD"}, r"^a\.b: there is no src\.sde\.VESD, did you mean VESDE\?$"),
        ({"_target_": "nowhere.Thing"}, r"^a\.b: there is no nowhere\.Thing$"),
        ({"_target_": 3}, r"^a\.b: _target_=3 is not the name of a class or function$"),
        ({"_target_": "src.sde"}, r"^a\.b: src\.sde is neither a class nor a function$"),
        ({"_target_": "src.sde.VESDE", "sigma_mx": 1}, r"^a\.b has no setting sigma_mx, did you mean sigma_max\?$"),
        ({"_target_": "src.nets.MLP", "compil": True}, r"^a\.b has no setting compil, did you mean compile\?$"),
        ({"_target_": "src.nets.MLP"}, r"^a\.b: missing a required .*'dim'$"),
        ({"_target_": "src.nets.MLP", "dim": "x"}, r"^a\.b\.dim=x: give a whole number$"),
    ],
)
def test_invalid_nodes_give_one_line(node: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({"b": node}, "a")


def test_located_and_nearest() -> None:
    assert located("src.sampling.LinearGrid") is LinearGrid
    assert nearest("heum", ["heun", "pc"]) == ", did you mean heun?"


def test_src_targets_work_in_the_installed_package(tmp_path: Path) -> None:
    (tmp_path / "score_sde").symlink_to(Path(__file__).parents[2] / "src")
    code = (
        "import sys; from score_sde.config.build import build; sde = build({'_target_': 'src.sde.VESDE'}); "
        "assert type(sde).__module__ == 'score_sde.sde.ve', type(sde); assert 'src' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
