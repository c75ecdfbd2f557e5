"""The stages, their order and time limits."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import replace

from bench.gpu_proof.driver import Stage

STAGES = (
    Stage("unpack", 40, beside=True, alone=False),
    Stage("card", 30, alone=False),
    Stage("rehearsal", 110, needs=("unpack",), beside=True, alone=False),
    Stage("classifier", 60, needs=("unpack",), beside=True, alone=False),
    Stage("tests", 120, alone=False, packages=("pytest", "xdist", "pytest_timeout", "jaxtyping", "beartype")),
    Stage("step_textbook", 16, early_after="card"),
    Stage("step_diffusers", 16, early_after="card", packages=("diffusers",)),
    Stage("step_tf32", 14, early_after="card"),
    Stage("step_bf16", 14, early_after="card"),
    Stage("step_channels_last", 14, early_after="card"),
    Stage("step_compiled", 25, preparation=120, early_after="card"),
    Stage("product_eager", 20, early_after="unpack", needs=("unpack",)),
    Stage("product_compiled", 30, preparation=120, early_after="unpack", needs=("unpack",)),
    Stage("step_loss", 30, preparation=120, early_after="tests"),
    Stage("parts", 12, early_after="card"),
    Stage("samplers", 16, early_after="card"),
    Stage("samplers_compiled", 40, preparation=120, early_after="tests"),
    Stage("fid", 12, early_after="card"),
    Stage("train", 330, needs=("unpack",)),
    Stage("sample", 70, needs=("train",)),
    Stage("scores", 45, needs=("sample", "classifier"), alone=False),
    Stage("bits", 120, needs=("train",), alone=False),
)

GROUPS = {
    "correctness": ("tests",),
    "throughput": tuple(s.name for s in STAGES if s.name.startswith(("step_", "product_"))),
    "sampling": ("samplers", "samplers_compiled"),
    "speedrun": ("rehearsal", "classifier", "train", "sample", "scores", "bits"),
}
"""Names for groups of stages."""

SMALL = (
    *("unpack", "card", "classifier", "rehearsal", "step_textbook", "step_bf16", "product_eager", "parts", "samplers"),
    *("train", "sample", "scores", "bits"),
)
"""Stages worth trying without a GPU: no compilation, no large nets."""


def chosen(names: Iterable[str]) -> list[Stage]:
    """Return stages and groups by name, with the stages they need, in program order.

    Raises:
        ValueError: for an unknown name.
    """
    by_name, wanted = {stage.name: stage for stage in STAGES}, set()
    waiting = [member for name in names for member in GROUPS.get(name, (name,))]
    while waiting:
        name = waiting.pop()
        if name not in by_name:
            raise ValueError(f"unknown stage {name}: choose from {', '.join([*by_name, *GROUPS])}")
        if name not in wanted:
            wanted.add(name)
            waiting += by_name[name].needs
    return [stage for stage in STAGES if stage.name in wanted]


PACKAGES = ("hydra", "omegaconf", "lightning", "torchmetrics", "torch_fidelity", "torchode", "safetensors", "PIL")
"""Modules that every stage may need."""


def missing_packages(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """Return the modules that are not installed, each with the names of the stages that need it."""
    needed: dict[str, list[str]] = {}
    for stage in stages:
        for name in (*PACKAGES, *stage.packages):
            needed.setdefault(name, []).append(stage.name)
    return {name: users for name, users in needed.items() if importlib.util.find_spec(name) is None}


def without_preparation(stages: Iterable[Stage]) -> list[Stage]:
    """Return the stages without early starts: on few cores they save no time."""
    return [replace(stage, early_after=None, beside=False, limit=4 * stage.limit) for stage in stages]
