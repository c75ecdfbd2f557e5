"""Read the folder of a run, of samples or of results; damaged and missing files are skipped."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from ...checkpoint.plain import check_plain
from ...errors import UserError
from ...io.results import recorded_results
from ...io.step_names import step_of
from ...io.untrusted import read_json, read_record

REPORT = "report.html"

_SKIPPED = ("images", "checkpoints", "wandb", "tensorboard")
_MARKS = ("run.json", "metrics.csv", "metrics.json", "manifest.json", "scores.jsonl")
_MARKS_OF_A_SWEEP = ("sweep.csv", "multirun.yaml")
_PICTURES = (".png", ".gif")
_TEXTS = dict.fromkeys(("started", "ended", "command", "commit", "host"), str)
_START: dict[str, Any] = {**_TEXTS, "overrides": list, "hardware": dict, "versions": dict, "step": int}
_START |= {"seconds": int | float, "energy": dict}
_MANIFEST: dict[str, Any] = {"status": str, "invalid": list, "num_samples": int, "far": int, "energy": dict}
_MANIFEST |= dict.fromkeys(("farthest", "seconds"), int | float)
_LARGEST = 2**48
_MOST_COLUMNS = 300
_MOST_CURVES = 1 << 29
"""Bytes of ``metrics.csv``: columns of a long training."""


@dataclass(frozen=True)
class PictureFile:
    """A picture in a folder.

    Attributes:
        path: PNG or GIF file.
        step: optimizer step of pictures that training drew; None for others.
    """

    path: Path
    step: int | None


@dataclass(frozen=True)
class Folder:
    """Facts about a run, or about samples or results without a run.

    Attributes:
        path: the folder.
        label: name for the reader; differs between the folders of a report.
        config: the resolved training configuration; empty if unknown.
        starts: entries of ``run.json``, one for each start.
        columns: (step, value) of every column of ``metrics.csv``; values that are not finite are NaN.
        results: file and content of every result, see ``recorded_results``.
        manifests: folder and content of every ``manifest.json``.
        pictures: in the order of their paths.
        damaged: names of files that exist but could not be read.
    """

    path: Path
    label: str
    config: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]
    columns: Mapping[str, Sequence[tuple[float, float]]]
    results: Sequence[tuple[Path, Mapping[str, Any]]]
    manifests: Sequence[tuple[Path, Mapping[str, Any]]]
    pictures: Sequence[PictureFile]
    damaged: Sequence[str] = ()


def read_folders(paths: Sequence[str | Path]) -> list[Folder]:
    """Read folders, with labels that differ.

    Raises:
        UserError: a path is not a folder, or it contains nothing to report.
    """
    homes = list(dict.fromkeys(home for path in paths for home in _homes(Path(path).expanduser())))
    configs = {home: _config(home) for home in homes}
    names = [str(configs[home].get("name") or _subject(home) or home.name) for home in homes]
    if len(set(names)) < len(names):
        names = [f"{name} {home.name}" for name, home in zip(names, homes, strict=True)]
    if len(set(names)) < len(names):
        names = [str(home) for home in homes]
    return [_folder(home, name, configs[home]) for home, name in zip(homes, names, strict=True)]


def _folder(home: Path, label: str, config: Mapping[str, Any]) -> Folder:
    files = sorted(_files(home))
    manifests = [(path.parent, _of_kinds(_json(path), _MANIFEST)) for path in files if path.name == "manifest.json"]
    pictures = [
        PictureFile(path, step_of(path.name) if path.suffix == ".png" else None)
        for path in files
        if path.suffix in _PICTURES
    ]
    starts = [
        _of_kinds(start, _START) for start in _list(_json(home / "run.json").get("starts")) if isinstance(start, dict)
    ]
    columns, results = _columns(home / "metrics.csv"), recorded_results(home)
    read = {path for path, _ in results}
    records = [path for path in files if path.name in ("metrics.json", "scores.jsonl")]
    unread = [
        *(
            home / name
            for name, content in (("run.json", starts), ("config.yaml", config), ("metrics.csv", columns))
            if not content
        ),
        *(path for path in records if path not in read),
    ]
    damaged = [str(path.relative_to(home)) for path in unread if path.is_file() and path.stat().st_size]
    return Folder(home, label, config, starts, columns, results, manifests, pictures, damaged)


def _homes(path: Path) -> list[Path]:
    """Return the folder itself if it has something to report, all runs of a sweep, or the newest run inside."""
    if not path.is_dir():
        state = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"{path} {state}: give the folder of a run, for example logs/<name>/<time>")
    if any((path / name).exists() for name in _MARKS):
        return [path]
    runs = [found.parent for found in path.rglob("run.json")]
    if not runs:
        raise UserError(f"{path} contains no run, samples or results: give a run, for example logs/<name>/<time>")
    if any((path / name).exists() for name in _MARKS_OF_A_SWEEP):
        return sorted(runs, key=lambda run: [(len(part), part) for part in run.relative_to(path).parts])
    return [_newest(runs)]


def _newest(runs: Sequence[Path]) -> Path:
    return max(runs, key=lambda run: (str(next(iter(_list(_json(run / "run.json").get("starts"))), "")), str(run)))


def _config(home: Path) -> dict[str, Any]:
    path = home / "config.yaml"
    try:
        found = yaml.safe_load(read_record(path))
    except (ValueError, RecursionError, yaml.YAMLError):
        # A folder of samples stores the configuration of its model.
        path = home / "manifest.json"
        about = _json(path).get("about")
        found = about.get("trained_with") if isinstance(about, dict) else None
    try:
        check_plain(found, str(path), "it is left out")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _subject(home: Path) -> str | None:
    """What was evaluated, if all results of a folder are of one subject."""
    names = {str(result.get("about", {}).get("name", "")) for _, result in recorded_results(home)}
    return next(iter(names)) if len(names) == 1 else None


def _columns(path: Path) -> dict[str, list[tuple[float, float]]]:
    try:
        content = read_record(path, _MOST_CURVES)
    except ValueError:
        return {}
    # The last row may be incomplete.
    complete = content[: content.rfind(b"\n") + 1].decode(errors="replace")
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(complete, newline="")):
            step = _number(row.get("step"))
            for name, text in islice(row.items(), _MOST_COLUMNS):
                value = _number(text)
                if step is not None and math.isfinite(step) and value is not None and name not in ("step", None):
                    found.setdefault(str(name), []).append((step, value))
    except csv.Error:
        return {}
    return found


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else math.nan


def _files(home: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(home):
        subfolders[:] = [sub for sub in subfolders if sub not in _SKIPPED and not sub.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_kinds(content: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The entries whose values are of the kinds that this program writes."""
    return {
        key: value
        for key, value in content.items()
        if key in kinds
        and isinstance(value, kinds[key])
        and (not isinstance(value, int | float) or abs(value) < _LARGEST)
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
