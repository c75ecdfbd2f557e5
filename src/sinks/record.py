"""``metrics.json``, the same for every command: results with all they depend on.

    {"version": 1, "results": [<a ``Result``>, ...], "versions": {"torch": ..., ...}}

Training appends one ``Result`` per line to ``scores.jsonl``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..io.atomic import write_json
from ..io.results import FILE, is_finite, is_result
from ..io.untrusted import read_json
from ..metrics import Scores
from ..metrics.protocol import facts_of, text_of
from .manifest import from_json, numerical_versions, settings_difference

VERSION = 1
"""Version of the schema. Files of evaluate.py without a version have the same ``results``."""


@dataclass
class Result:
    """One result.

    Attributes:
        task: ``scores``, ``bits_per_dim``, ``loss``, ``spread`` (of a group of trainings), ``compare`` or ``doctor``.
        label: name of the subject for a reader.
        subject: identity of the measured object; a record holds one result per task and subject.
        settings: everything else the values depend on.
        values: the numbers; None for a value that does not exist.
        intervals: lower and upper end of the 95 % interval, by the name of the value.
        conditions: facts that a reader must know beside a number.
        details: results that are lists.
        notes: warnings to read before comparing.
        about: paths, training step, and ``energy`` in joules by kind of counter, if it is known.
        protocol: ``text`` of the first score, one line for a paper, and the same as ``facts``.
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
    intervals: dict[str, list[float]] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)

    def of_scores(self, scores: Scores) -> Result:
        """Return a copy with values, intervals, conditions, details and notes of ``scores`` added."""
        conditions = {**scores.conditions, **self.conditions}
        return replace(
            self,
            values={**self.values, **scores.values},
            conditions=conditions,
            protocol={"text": text_of(next(iter(scores.values), "samples"), conditions), "facts": facts_of(conditions)},
            details={**self.details, **scores.details},
            notes=[*self.notes, *scores.notes],
            intervals={**self.intervals, **{name: list(ends) for name, ends in scores.intervals.items()}},
        )

    def plain(self) -> dict[str, Any]:
        """Return plain containers for JSON, which has no infinities or NaN."""
        values = {name: value if is_finite(value) else None for name, value in self.values.items()}
        return dict(from_json({**asdict(self), "values": values}))


class Record:
    """The results in a folder.

    Args:
        folder: folder in which ``metrics.json`` is stored.

    Raises:
        UserError: the file is damaged or belongs to another program.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.results: list[Result] = []
        if os.path.lexists(self.path):
            try:
                self.results = [_result(result) for result in read_json(self.path)["results"]]
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path} is not a record of results of this program: choose another output_dir"
                ) from error

    def find(self, task: str, subject: Mapping[str, Any], settings: Mapping[str, Any]) -> Result | None:
        """Return the finished entry, None if there is none; raise UserError if there is one with other settings."""
        subject, settings = from_json(subject), from_json(settings)
        for entry in self.results:
            if entry.task == task and entry.subject == subject:
                difference = settings_difference(entry.settings, settings)
                if difference is not None:
                    raise UserError(
                        f"{self.path} contains {task} of {entry.label} with other settings: {difference}; "
                        "choose another output_dir"
                    )
                return entry
        return None

    def replace(self, tasks: Sequence[str], results: Sequence[Result]) -> None:
        """Replace all entries of these tasks by ``results``; raise UserError if the file cannot be written."""
        kept = [result for result in self.results if result.task not in tasks]
        self.results = [*kept, *(Result(**result.plain()) for result in results)]
        write_results(self.path.parent, self.results)

    def add(self, result: Result) -> None:
        """Keep a result in memory and on the disk; raise UserError if the system refuses."""
        self.results.append(Result(**result.plain()))
        write_results(self.path.parent, self.results)


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write ``metrics.json`` in ``folder``; raise UserError if the system refuses."""
    content = {"version": VERSION, "results": [result.plain() for result in results], "versions": numerical_versions()}
    write_json(folder / FILE, content)


def _result(content: Any) -> Result:
    if not is_result(content):
        raise TypeError("no result")
    return Result(**content)
