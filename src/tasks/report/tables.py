"""Tables of a report: results with their intervals, and facts about runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...config.annotations import is_number
from ...io.results import FILE, is_finite
from ...progress import duration
from .folder import Folder

_FEW, _WIDEST = 4, 6
_MADE = ("sampler", "nfe", "seed", "weights", "precision", "device")


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading.

    Attributes:
        title: heading.
        columns: column names; the first column names the rows.
        rows: as many cells as columns.
        notes: sentences below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class KnownScore:
    """A number for the top of the page."""

    name: str
    value: str
    interval: str
    protocol: str
    run: str
    conditions: Mapping[str, Any]


def best_known(folders: Sequence[Folder], most: int = 4) -> list[KnownScore]:
    """The first scores of the result with most samples of every folder, the one that training watches first.

    Scores during training are taken only if there are no others.
    """
    found = []
    for folder in folders:
        scored = [(path, result) for path, result in folder.results if result["task"] == "scores" and result["values"]]
        final = [result for path, result in scored if path.name == FILE]
        if not scored:
            continue
        last = scored[-1][1]
        result = max(final, key=lambda found: _count(found.get("conditions", {}).get("samples")), default=last)
        watched = folder.config.get("optimized_metric")
        names = [name for name in result["values"] if not name.endswith("_std")]
        shown = sorted(names, key=lambda name: name != watched)[:most]
        protocol = str(result.get("protocol", {}).get("text", ""))
        for name in shown if len(folders) == 1 else shown[:1]:
            ends = result.get("intervals", {}).get(name)
            shown_as = number(result["values"][name]), interval(ends)
            found.append(KnownScore(name, *shown_as, protocol, folder.label, result.get("conditions", {})))
    return found


def results(folders: Sequence[Folder]) -> list[Table]:
    """Return a table for each task; of scores during training only the last of each run."""
    tasks: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for folder in folders:
        training_arguments = [result for path, result in folder.results if path.name != FILE]
        kept = [(path, result) for path, result in folder.results if path.name == FILE]
        for path, result in [*((folder.path, result) for result in training_arguments[-1:]), *kept]:
            name = _name(folder, path, result)
            tasks.setdefault(result["task"], []).append((name, result))
    return [_table(task, rows) for task, rows in tasks.items()]


def of_comparison(results: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A table of the settings and a table of their differences."""
    titles = {"spread": "Settings", "compare": "Differences"}
    found = []
    for task, title in titles.items():
        rows = [(str(result["label"]), result) for result in results if result["task"] == task]
        if rows:
            found.append(replace(_table(task, rows), title=title))
    return found


def runs(folders: Sequence[Folder]) -> Table:
    """Time, hardware, versions and origin of every run."""
    facts = [_facts(folder) for folder in folders]
    names = list(dict.fromkeys(name for found in facts for name in found))
    rows = [[name, *(found.get(name, "") for found in facts)] for name in names]
    return Table("Origin", ["", *(folder.label for folder in folders)], [row for row in rows if any(row[1:])])


def commands(folder: Folder) -> list[str]:
    """Shell commands that repeat the training of a run."""
    if not folder.starts:
        return []
    first = folder.starts[0]
    commit = str(first.get("commit") or "").removesuffix("+changes")
    program = str(first.get("command", "")).split()[:1]
    settings = [str(setting) for setting in first.get("overrides") or []]
    paths = [Path(name) for name in program]
    # For an installed package, the program is commands/train.py inside it. Jobs of a sweep name the script by its path.
    in_checkout = any(path.name == "train.py" and path.parent.name != "commands" for path in paths)
    start = ["python", "train.py"] if in_checkout else ["score-sde", "train"]
    return [*([f"git checkout {shlex.quote(commit)}"] if commit else []), shlex.join([*start, *settings])]


def number(value: Any) -> str:
    """Format a value for reading."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "none" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def interval(ends: Any) -> str:
    """``2.33 to 2.43``, or an empty string."""
    return f"{number(ends[0])} to {number(ends[1])}" if isinstance(ends, list) and len(ends) == 2 else ""


def _table(task: str, named: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """A column for each of a few results, a row for each of many: whichever makes the narrower table."""
    values = list(dict.fromkeys(name for _, result in named for name in result["values"]))
    protocols = [str(result.get("protocol", {}).get("text", "")) for _, result in named]
    columns = ["", *values, *(["protocol"] if any(protocols) else [])]
    rows = [
        [name, *(_cell(result, value) for value in values), *([protocol] if any(protocols) else [])]
        for (name, result), protocol in zip(named, protocols, strict=True)
    ]
    if len(rows) <= max(_FEW, min(len(columns) - 1, _WIDEST)):
        columns, *rows = map(list, zip(columns, *rows, strict=True))
    notes = list(dict.fromkeys(str(note) for _, result in named for note in result.get("notes", [])))
    return Table(task.replace("_", " ").capitalize(), columns, rows, notes)


def _cell(result: Mapping[str, Any], name: str) -> str:
    if name not in result["values"]:
        return ""
    ends = interval(result.get("intervals", {}).get(name))
    return number(result["values"][name]) + (f" ({ends})" if ends else "")


def _name(folder: Folder, path: Path, result: Mapping[str, Any]) -> str:
    """Run and scored subject, short enough for a table."""
    if path == folder.path:
        return f"{folder.label}, training, {result['label']}"
    label = str(result["label"])
    home = path.parent
    # The label of samples is the path of their folder.
    short = home.name if Path(label).name == home.name else label
    return short if short == folder.label else f"{folder.label}, {short}"


def _facts(folder: Folder) -> dict[str, str]:
    found = {"folder": str(folder.path)}
    if folder.starts:
        first, last = folder.starts[0], folder.starts[-1]
        seconds = [start["seconds"] for start in folder.starts if isinstance(start.get("seconds"), int | float)]
        hardware = last.get("hardware") or {}
        found |= {
            "started": str(first.get("started", "")),
            "starts": number(len(folder.starts)),
            "ended": str(last.get("ended", "")),
            "steps": number(last["step"]) if isinstance(last.get("step"), int) else "",
            "time": duration(sum(seconds)) if seconds else "",
            "energy": _energy(folder.starts),
            "host": str(last.get("host", "")),
            **{str(name): str(value) for name, value in hardware.items()},
            "commit": str(last.get("commit") or "unknown"),
            **{str(name): str(version) for name, version in (last.get("versions") or {}).items()},
        }
    elif folder.results:
        _, scored = max(folder.results, key=lambda found: _count(found[1].get("conditions", {}).get("samples")))
        path = scored.get("about", {}).get("ckpt_path", "")
        conditions = scored.get("conditions", {})
        found |= {"checkpoint": str(path), **{name: number(conditions[name]) for name in _MADE if name in conditions}}
    for home, manifest in folder.manifests:
        spent, count = manifest.get("seconds"), manifest.get("num_samples")
        if isinstance(spent, int | float) and isinstance(count, int) and spent > 0:
            joules = _watt_hours([manifest.get("energy")])
            found[f"sampling {home.name}"] = ", ".join(
                [f"{count:,} samples in {duration(spent)} of device time", *joules]
            )
    for home in dict.fromkeys(path.parent for path, _ in folder.results):
        used = [result.get("about", {}).get("energy") for path, result in folder.results if path.parent == home]
        if joules := _watt_hours(used):
            found[f"energy of {home.name}"] = ", ".join(joules)
    return found


def _energy(starts: Sequence[Mapping[str, Any]]) -> str:
    """Energy of all starts in watt-hours, with what is not known."""
    with_gpus = any("gpus" in (start.get("hardware") or {}) for start in starts)
    known = _watt_hours([start.get("energy") for start in starts])
    if not known:
        return "not known (no counter of this machine could be read)"
    asked = ("processors", "GPUs") if with_gpus else ("processors",)
    return ", ".join([*known, *(f"{name} not known" for name in asked if not any(name in part for part in known))])


def _watt_hours(entries: Sequence[Any]) -> list[str]:
    """Sum of joules by kind of counter, as ``processors 1.2 Wh``; ``at least`` if some entries lack the kind."""
    found = []
    for kind, name in {"processors": "processors", "gpus": "GPUs"}.items():
        joules = [entry[kind] for entry in entries if isinstance(entry, dict) and is_number(entry.get(kind))]
        at_least = "at least " if len(joules) < len(entries) else ""
        if joules:
            found.append(f"{name} {at_least}{number(sum(joules) / 3600)} Wh")
    return found


def _count(value: Any) -> float:
    return value if is_finite(value) else 0
