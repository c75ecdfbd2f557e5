"""Bits per dim of test images with the speedrun's model, by ``evaluate.py``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from bench.gpu_proof import commands
from bench.gpu_proof.setup import RecordRow, Setup
from bench.gpu_proof.stages.speedrun.train import SECTION
from bench.rows import row


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """512 test images if time allows, otherwise 128."""

    def measure() -> None:
        tolerance = 1e-2 if setup.small else 1e-4
        count = 4 if setup.small else 512 if setup.seconds_left > 90 else 128
        folder = setup.work / "bits"
        start = time.perf_counter()
        commands.call(
            "evaluate.py",
            f"ckpt_path={commands.checkpoint(setup, commands.RUN)}",
            "bits_per_dim=true",
            "score=false",
            f"limit={count}",
            f"batch_size={min(count, 256)}",
            *(f"likelihood.likelihood.{name}={tolerance}" for name in ("rtol", "atol")),
            f"accelerator={'gpu' if setup.on_gpu else 'cpu'}",
            "devices=1",
            f"output_dir={folder}",
            # Not worth compiling a graph with gradients for this only.
            compiled=False,
        )
        values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        record_row(
            row(
                SECTION,
                f"bits/dim, {count} test images, tolerance {tolerance:g}",
                _find(values, "bits_per_dim"),
                "bits",
            )
        )
        record_row(row(SECTION, "bits/dim, the whole command", time.perf_counter() - start, "s"))

    return measure


def _find(node: object, name: str) -> float:
    """Return the first number under a key, at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get(name), int | float):
            return float(node[name])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            try:
                return _find(child, name)
            except KeyError:
                continue
    raise KeyError(name)
