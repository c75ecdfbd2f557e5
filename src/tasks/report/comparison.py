"""Whether the settings of several trainings differ, from the scores that are recorded already; nothing is sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...config.annotations import is_number
from ...config.location import program_command
from ...io.results import FILE, recorded_results
from ...metrics.protocol import GENERATION, MEASUREMENT, text_of
from ...sinks.record import Result
from ..evaluate.compare.groups import by_settings
from ..evaluate.compare.verdict import differences, spreads
from .folder import Folder

_AROUND = 4
"""``mode=compare`` writes to ``evaluation`` in the folder of all runs, a few levels above a run."""


@dataclass(frozen=True)
class Comparison:
    """What the recorded scores say about the settings of several trainings.

    Attributes:
        said: the verdict, or why there is none, in sentences.
        results: entries ``spread`` and ``compare``, as ``mode=compare`` writes them; empty without a verdict.
        score: name of the score.
        groups: scores [training][draw] by group.
    """

    said: Sequence[str]
    results: Sequence[Mapping[str, Any]] = ()
    score: str = ""
    groups: Mapping[str, Sequence[Sequence[float]]] | None = None


@dataclass(frozen=True)
class _Draw:
    """One scored draw of samples of a training."""

    seed: str
    step: int
    values: Mapping[str, Any]
    entry: Mapping[str, Any]


def comparison(folders: Sequence[Folder]) -> Comparison | None:
    """Compare the trainings among ``folders``; None if there are fewer than two, or a folder holds a verdict."""
    runs = [folder for folder in folders if folder.starts and folder.config]
    if len(runs) < 2 or any(result["task"] == "compare" for folder in folders for _, result in folder.results):
        return None
    groups = {name: [runs[i] for i in places] for name, places in by_settings([run.config for run in runs]).items()}
    if len(groups) > 1 and max(map(len, groups.values())) == 1:
        return Comparison(
            [
                f"Too little for a verdict: each of the {len(groups)} settings was trained once, and two trainings of "
                "one setting differ too. Train each with several seeds, as "
                f"{program_command('train')} -m ... seed.init=1,2,3, and report the sweep's folder."
            ]
        )
    missing = [run.label for run in runs if not any(_draws(run, []))]
    if missing:
        return Comparison([f"No verdict: no score is recorded of {', '.join(missing)}. {_HOW}"])
    tables = _tables(runs)
    if tables is None:
        return Comparison([f"No verdict: no score was measured in the same way for all of these runs. {_HOW}"])
    return _compared(groups, *tables)


_TRAINING = "training"
_HOW = (
    f"Score them together: {program_command('evaluate')} mode=compare groups=<the sweep's folder>, then write the "
    "report again."
)


def _compared(
    groups: Mapping[str, Sequence[Folder]], score: str, drawn: Mapping[Path, Mapping[str, _Draw]]
) -> Comparison:
    seeds = sorted(set.intersection(*(set(draws) for draws in drawn.values())))
    tables = {
        name: [[float(drawn[run.path][seed].values[score]) for seed in seeds] for run in members]
        for name, members in groups.items()
    }
    base = {name: _base(name, score, drawn[members[0].path][seeds[0]].entry) for name, members in groups.items()}
    scores = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in tables.items()}
    pairs = differences(scores, score, base)
    results = [_known(result) for result in [*spreads(scores, score, base), *pairs]]
    said = [f"{note[:1].upper()}{note[1:]}." for pair in pairs for note in pair.notes]
    if not pairs:
        said.append(f"{len(next(iter(tables.values())))} trainings of one setting: there is no other to compare with.")
    steps = sorted({draws[seeds[0]].step for draws in drawn.values()})
    if len(steps) > 1:
        said.append(f"The trainings are at different steps: {', '.join(f'{step:,}' for step in steps)}.")
    return Comparison(said, results, score, tables)


def _base(name: str, score: str, entry: Mapping[str, Any]) -> Result:
    """What all scores of a group were measured with."""
    conditions = dict(entry.get("conditions", {}))
    return Result("scores", name, {}, {}, conditions=conditions, protocol={"text": text_of(score, conditions)})


def _known(result: Result) -> dict[str, Any]:
    """An entry without values that a single training or draw cannot give, and without its sentences."""
    values: dict[str, float | None] = {name: value for name, value in result.values.items() if value is not None}
    return replace(result, values=values, notes=[]).plain()


def _tables(runs: Sequence[Folder]) -> tuple[str, dict[Path, dict[str, _Draw]]] | None:
    """The score and the draws of every run that compare best: as many draws as possible, of as many samples."""
    near = list(_near(runs))
    measured: dict[tuple[Any, ...], dict[Path, dict[str, _Draw]]] = {}
    for run in runs:
        for draw in _draws(run, near):
            of_run = measured.setdefault(_measurement(draw.entry), {}).setdefault(run.path, {})
            if draw.seed not in of_run or of_run[draw.seed].step < draw.step:
                of_run[draw.seed] = draw
    best = None
    for found in measured.values():
        if len(found) < len(runs):
            continue
        shared = set.intersection(*(set(draws) for draws in found.values()))
        score = _score(runs[0], [found[run.path][seed].values for run in runs for seed in shared])
        if shared and score is not None:
            samples = next(iter(found[runs[0].path].values())).entry.get("conditions", {}).get("samples")
            size = (len(shared), samples if is_number(samples) else 0)
            if best is None or size > best[0]:
                best = (size, score, found)
    return None if best is None else best[1:]


def _score(run: Folder, values: Sequence[Mapping[str, Any]]) -> str | None:
    """The score that training watches, or the first that every draw has."""
    shared = [name for name in (values[0] if values else ()) if all(is_number(found.get(name)) for found in values)]
    watched = run.config.get("optimized_metric")
    return watched if watched in shared else next(iter(shared), None)


def _draws(run: Folder, near: Iterable[tuple[Path, Mapping[str, Any]]]) -> Iterator[_Draw]:
    """The scores of a run: in its folder, and in those of comparisons nearby."""
    inside = [entry for _, entry in run.results]
    outside = [entry for path, entry in near if run.path.resolve() in _checkpoint(entry).parents]
    for entry in [*inside, *outside]:
        conditions = entry.get("conditions", {})
        if entry["task"] == "scores" and not conditions.get("invalid_samples") and entry["values"]:
            step = entry.get("about", {}).get("step", entry["subject"].get("step"))
            # Each training draws once, with a seed of its own.
            in_training = "step" in entry["subject"]
            seed = _TRAINING if in_training else str(conditions.get("seed", entry.get("settings", {}).get("seed")))
            yield _Draw(seed, step if isinstance(step, int) else 0, entry["values"], entry)


def _near(runs: Sequence[Folder]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    homes = dict.fromkeys(parent / "evaluation" for run in runs for parent in run.path.resolve().parents[:_AROUND])
    for home in homes:
        if home.is_dir():
            yield from ((path, entry) for path, entry in recorded_results(home) if path.name == FILE)


def _checkpoint(entry: Mapping[str, Any]) -> Path:
    return Path(str(entry.get("about", {}).get("ckpt_path", ""))).resolve()


def _measurement(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must agree for two scores to compare."""
    conditions = entry.get("conditions", {})
    return tuple(str(conditions.get(name)) for name in (*MEASUREMENT, *GENERATION))
