"""Train the classifier whose features score the speedrun."""

from __future__ import annotations

import time
from collections.abc import Callable

from safetensors import safe_open

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup
from bench.rows import row


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Run ``python -m src.metrics.extractors.train_classifier``."""

    def fit() -> None:
        start = time.perf_counter()
        small = ("--width", "4", "--epochs", "2", "--batch", "50", "--no-flip") if setup.small else ()
        commands.call(
            "-m src.metrics.extractors.train_classifier",
            *("--data", str(setup.npz), "--out", str(setup.classifier), "--device", setup.device),
            *small,
        )
        section = "Classifier of the scores"
        record_row(row(section, "training, the whole command", time.perf_counter() - start, "s"))
        with safe_open(setup.classifier, framework="pt") as file:
            record_row(row(section, "accuracy on the test split", 100 * float(file.metadata()["test_accuracy"]), "%"))

    return fit
