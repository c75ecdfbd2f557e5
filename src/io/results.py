"""Read results as plain containers: ``metrics.json`` of every command and ``scores.jsonl`` of training."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = "metrics.json"
TRAINING_FILE = "scores.jsonl"

_SKIPPED = ("images", "checkpoints", "wandb", "tensorboard")


def recorded_results(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return every result in ``folder`` and its subfolders, in the order of their paths.

    Damaged and foreign files are skipped.

    Returns:
        Pairs of the file and a result: a mapping with ``task``, ``label``, ``subject`` and ``values``.
    """
    found = []
    for path in _files(folder):
        try:
            text = path.read_text(encoding="utf-8")
            if path.name == FILE:
                entries = json.loads(text)["results"]
            else:
                # A run that is still writing, or was killed, leaves an incomplete line.
                entries = [json.loads(line) for line in text.split("\n")[:-1]]
            found += [(path, entry) for entry in entries if _is_result(entry)]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _files(folder: Path) -> Iterator[Path]:
    for home, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(sub for sub in subfolders if sub not in _SKIPPED and not sub.startswith("."))
        for name in (TRAINING_FILE, FILE):
            if name in files:
                yield Path(home, name)


def _is_result(entry: Any) -> bool:
    kinds = {"task": str, "label": str, "subject": dict, "values": dict}
    optional = {"settings": dict, "intervals": dict, "conditions": dict, "protocol": dict, "notes": list}
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
        and all(isinstance(entry.get(key, kind()), kind) for key, kind in optional.items())
    )
