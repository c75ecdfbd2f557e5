"""Results in the loggers of a run: curves over training steps, or a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....sinks.record import Result


def log(loggers: Sequence[Any], entries: Sequence[Result], picture: Path | None) -> None:
    """Tell loggers of Lightning's kind everything.

    Args:
        loggers: the loggers.
        entries: the results.
        picture: a PNG of them, or None for results that are points of a curve over training steps.
    """
    for logger in loggers:
        if picture is None:
            _log_curves(logger, entries)
        if hasattr(logger, "log_table"):
            for task in dict.fromkeys(entry.task for entry in entries):
                columns, rows = _columns_and_rows([entry for entry in entries if entry.task == task])
                logger.log_table(f"evaluation/{task}", columns=columns, data=rows)
        if picture is not None and hasattr(logger, "log_image"):
            logger.log_image("evaluation/pareto", [str(picture)])
        logger.save()
        logger.finalize("success")


def _log_curves(logger: Any, entries: Sequence[Result]) -> None:
    # Steps of W&B cannot go backwards, and one step is logged once.
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
