"""``sample.py`` on the speedrun's checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup
from bench.gpu_proof.stages.speedrun.train import SECTION
from bench.rows import row


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Sample the requested number of images with Heun's method."""

    def make() -> None:
        start = time.perf_counter()
        commands.sample(setup, commands.RUN, setup.images)
        seconds = time.perf_counter() - start
        record_row(row(SECTION, f"{setup.images:,} images, the whole command", seconds, "s"))
        record_row(row(SECTION, "sampling with start and compilation", setup.images / seconds, "images/s"))

    return make
