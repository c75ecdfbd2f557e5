"""Send results to the loggers of a run: curves over training steps, or a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....loggers import log_picture, log_table
from ....sinks.record import Result


def log(loggers: Sequence[Any], entries: Sequence[Result], picture: Path | None) -> None:
    """Log all results.

    Args:
        loggers: loggers of Lightning.
        entries: the results.
        picture: a PNG of them, or None for results that are points of a curve over training steps.
    """
    for logger in loggers:
        if picture is None:
            _log_curves(logger, entries)
        else:
            log_picture(logger, "evaluation/pareto", np.asarray(Image.open(picture).convert("RGB")))
        for task in dict.fromkeys(entry.task for entry in entries):
            log_table(logger, f"evaluation/{task}", *_columns_and_rows([e for e in entries if e.task == task]))
        logger.save()
        logger.finalize("success")


def _log_curves(logger: Any, entries: Sequence[Result]) -> None:
    # W&B steps cannot decrease, and each step is logged only once.
    by_step: dict[int, dict[str, float]] = {}
    for entry in entries:
        task = "" if entry.task == "scores" else f"{entry.task}/"
        numbers = {f"evaluation/{task}{name}": v for name, v in entry.values.items() if v is not None}
        by_step.setdefault(entry.about.get("step", 0), {}).update(numbers)
    for step in sorted(by_step):
        logger.log_metrics(by_step[step], step=step)


def _columns_and_rows(entries: Sequence[Result]) -> tuple[list[str], list[list[Any]]]:
    values = list(dict.fromkeys(name for entry in entries for name in entry.values))
    conditions = list(dict.fromkeys(name for entry in entries for name in entry.conditions))
    rows = [
        [entry.label, *map(entry.values.get, values), *(_plain(entry.conditions.get(name)) for name in conditions)]
        for entry in entries
    ]
    return ["label", *values, *conditions], rows


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)
