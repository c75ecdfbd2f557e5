"""``metrics.json``: results with all they depend on, one entry after the other, so that a second call goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...io.atomic import write_json
from ..sample.manifest import first_difference, plain, versions

FILE = "metrics.json"


@dataclass
class Entry:
    """One result.

    Attributes:
        task: ``scores``, ``bits_per_dim`` or ``loss``.
        label: whose, in words.
        subject: whose, exactly; there is one entry for each task and subject.
        settings: everything else the values depend on.
        values: the numbers; None for one that does not exist.
        conditions: what a reader must know beside a number, in words and numbers.
        details: results that are lists.
        notes: what a reader should know before comparing.
        about: paths and such.
    """

    task: str
    label: str
    subject: dict[str, Any]
    settings: dict[str, Any]
    values: dict[str, float | None] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    details: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


class Record:
    """The results in a folder.

    Args:
        folder: where ``metrics.json`` is, or will be.

    Raises:
        UserError: the file there is damaged or of something else.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.entries: list[Entry] = []
        if self.path.exists():
            try:
                content = json.loads(self.path.read_text())
                self.entries = [Entry(**entry) for entry in content["results"]]
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path} is damaged or not of evaluate.py: delete it or choose another output_dir"
                ) from error

    def find(self, task: str, subject: Mapping[str, Any], settings: Mapping[str, Any]) -> Entry | None:
        """The finished entry, None if there is none; UserError if there is one with other settings."""
        subject, settings = plain(subject), plain(settings)
        for entry in self.entries:
            if entry.task == task and entry.subject == subject:
                difference = first_difference(entry.settings, settings)
                if difference is not None:
                    raise UserError(
                        f"{self.path} holds {task} of {entry.label} with other settings: {difference}; "
                        "choose another output_dir"
                    )
                return entry
        return None

    def add(self, entry: Entry) -> None:
        """Keep a result, on the disk too; UserError when the disk refuses."""
        entry.values = {name: value if _is_number(value) else None for name, value in entry.values.items()}
        self.entries.append(Entry(**plain(asdict(entry))))
        content = {"results": [asdict(entry) for entry in self.entries], "versions": versions()}
        write_json(self.path, content)


def _is_number(value: float | None) -> bool:
    # JSON has no words for the others.
    return value is not None and math.isfinite(value)
