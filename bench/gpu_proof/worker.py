"""The process of one stage: prepare, wait for the turn, measure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.gpu_proof.setup import RecordRow, Setup, keep
from bench.gpu_proof.turn import wait_for_turn

Measure = Callable[[], None]

STAGES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "unpack": ("data", ()),
    "card": ("card", ()),
    "tests": ("correctness", ()),
    "classifier": ("speedrun.classifier", ()),
    "rehearsal": ("speedrun.rehearsal", ()),
    "step_textbook": ("speed.steps", ("textbook, float32",)),
    "step_diffusers": ("speed.steps", ("diffusers, bf16",)),
    "step_tf32": ("speed.steps", ("ours, TF32",)),
    "step_bf16": ("speed.steps", ("ours, bf16",)),
    "step_channels_last": ("speed.steps", ("ours, bf16, channels_last",)),
    "step_compiled": ("speed.steps", ("ours, bf16, channels_last, compiled net",)),
    "step_loss": ("speed.steps", ("ours, bf16, channels_last, compiled loss",)),
    "product_eager": ("speed.product", ("eager",)),
    "product_compiled": ("speed.product", ("compiled",)),
    "parts": ("speed.parts", ()),
    "samplers": ("speed.samplers", (False,)),
    "samplers_compiled": ("speed.samplers", (True,)),
    "fid": ("speed.fid", ()),
    "train": ("speedrun.train", ()),
    "sample": ("speedrun.sample", ()),
    "scores": ("speedrun.scores", ()),
    "bits": ("speedrun.bits", ()),
}
"""Module and further arguments of each stage's ``prepare``, which returns the function to run at its turn."""


def main() -> None:
    """Run one stage."""
    name, setup = sys.argv[1], Setup.load(Path(sys.argv[2]))
    record_row: RecordRow = partial(keep, setup.record, name)
    module, arguments = STAGES[name]
    measure: Measure = import_module(f"bench.gpu_proof.stages.{module}").prepare(setup, record_row, *arguments)
    wait_for_turn()
    measure()


if __name__ == "__main__":
    main()
