"""Read results as plain containers: ``metrics.json`` of every command and ``scores.jsonl`` of training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from .untrusted import parse_json, read_json, read_record

FILE = "metrics.json"
TRAINING_FILE = "scores.jsonl"

_MOST_LINES = 1 << 28
"""Maximum size of the results of a training."""

_SKIPPED = ("images", "checkpoints", "wandb", "tensorboard")


def recorded_results(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return every result in ``folder`` and its subfolders, in the order of their paths.

    Damaged files and files of other programs are skipped.

    Returns:
        Pairs of the file and a result: a mapping with ``task``, ``label``, ``subject`` and ``values``.
    """
    found = []
    for path in _files(folder):
        try:
            entries = read_json(path)["results"] if path.name == FILE else read_lines(path)
            found += [(path, entry) for entry in entries if is_result(entry)]
        except (ValueError, KeyError, TypeError):
            continue
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the results in ``scores.jsonl``; damaged lines are skipped, and so is a file that cannot be read.

    A run that is still writing, or was killed, leaves an incomplete last line.
    """
    try:
        lines = read_record(path, _MOST_LINES).split(b"\n")[:-1]
    except ValueError:
        return []
    found = []
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:
            continue
        if is_result(entry):
            found.append(entry)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for home, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(sub for sub in subfolders if sub not in _SKIPPED and not sub.startswith("."))
        for name in (TRAINING_FILE, FILE):
            if name in files:
                yield Path(home, name)


def is_result(entry: Any) -> bool:
    """Whether ``entry``, from JSON, has the parts of ``sinks.record.Result`` with values of their kinds."""
    kinds = {"task": str, "label": str, "subject": dict, "values": dict}
    optional: dict[str, type] = {"settings": dict, "intervals": dict, "conditions": dict, "details": dict}
    optional |= {"protocol": dict, "notes": list, "about": dict}
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
        and all(isinstance(entry.get(key, kind()), kind) for key, kind in optional.items())
        and all(value is None or is_finite(value) for value in entry["values"].values())
        and all(_are_ends(ends) for ends in entry.get("intervals", {}).values())
        and is_finite(entry.get("conditions", {}).get("nfe", 0))
    )


def _are_ends(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_finite, value))


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is an int or a float, but not a bool, and is finite as a float."""
    # A whole number of any length may not fit into a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1000
