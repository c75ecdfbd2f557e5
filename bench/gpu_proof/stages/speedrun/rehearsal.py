"""The speedrun in a few steps: compiles its graphs, and makes images of an untrained net."""

from __future__ import annotations

from collections.abc import Callable

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup

UNTRAINED_IMAGES = 1000
STEPS = 3


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Train for a few steps and sample."""

    def rehearse() -> None:
        commands.train(setup, commands.REHEARSAL, f"trainer.max_steps={STEPS}")
        commands.sample(setup, commands.REHEARSAL, min(UNTRAINED_IMAGES, setup.images))

    return rehearse
