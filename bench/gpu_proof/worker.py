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
    "classifier": ("classifier", ()),
    "rehearsal": ("rehearsal", ()),
    "step_textbook": ("steps", ("textbook, float32",)),
    "step_diffusers": ("steps", ("diffusers, bf16",)),
    "step_tf32": ("steps", ("ours, TF32",)),
    "step_bf16": ("steps", ("ours, bf16",)),
    "step_channels_last": ("steps", ("ours, bf16, channels_last",)),
    "step_compiled": ("steps", ("ours, bf16, channels_last, compiled net",)),
    "step_loss": ("steps", ("ours, bf16, channels_last, compiled loss",)),
    "product_eager": ("product", ("eager",)),
    "product_compiled": ("product", ("compiled",)),
    "parts": ("parts", ()),
    "samplers": ("samplers", (False,)),
    "samplers_compiled": ("samplers", (True,)),
    "fid": ("fid", ()),
    "train": ("train", ()),
    "sample": ("sample", ()),
    "scores": ("scores", ()),
    "bits": ("bits", ()),
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
