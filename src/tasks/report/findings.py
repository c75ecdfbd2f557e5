"""Warnings that a reader needs before trusting the numbers of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...io.results import FILE
from ...metrics.protocol import why_incomparable
from .folder import Folder
from .tables import KnownScore

_WIDE = 0.25
"""Above this half width of an interval, as a share of the value, more samples are recommended."""
_PUBLISHED = 50_000


def findings(folder: Folder) -> list[str]:
    """Return warnings about a folder, one sentence each."""
    return list(dict.fromkeys([*_of_training(folder), *_of_samples(folder), *_of_scores(folder)]))


def mismatches(scores: Sequence[KnownScore]) -> list[tuple[str, str]]:
    """Scores that stand side by side and do not compare: the run, and why not."""
    found = []
    for score in scores[1:]:
        why = why_incomparable(scores[0].conditions, score.conditions)
        if why is not None and score.run != scores[0].run:
            found.append((score.run, f"its score does not compare with that of {scores[0].run}: {why}."))
    return found


def _of_training(folder: Folder) -> Iterator[str]:
    if folder.damaged:
        yield f"These files are damaged and left out: {', '.join(folder.damaged)}."
    if folder.starts:
        ended = str(folder.starts[-1].get("ended", "unknown"))
        if ended == "running":
            yield "Training is not complete: it is still running, or was killed."
        elif ended != "finished":
            yield f"Training is not complete: {ended}."
        if str(folder.starts[-1].get("commit") or "").endswith("+changes"):
            yield "The code had uncommitted changes: the commit below does not reproduce this run exactly."
    for name, points in folder.columns.items():
        lost = sum(math.isnan(value) for _, value in points)
        if lost and name != "epoch":
            yield f"{name} was not finite at {lost} of {len(points)} logged steps."
        if "skipped" in name and points:
            yield f"{points[-1][1]:g} steps were skipped because their gradients were not finite."


def _of_samples(folder: Folder) -> Iterator[str]:
    for home, manifest in folder.manifests:
        about = f"{home.relative_to(folder.path)}: " if home != folder.path else ""
        invalid, count = manifest.get("invalid"), manifest.get("num_samples")
        if isinstance(invalid, list) and invalid:
            yield f"{about}{len(invalid)} of {count} samples diverged or are not finite; scores exclude them."
        if manifest.get("far"):
            reach = manifest.get("farthest")
            yield f"{about}{manifest['far']} of {count} samples lie far outside the data, up to {reach:.3g}."
        if manifest.get("status") == "running":
            yield f"{about}not all samples were generated."


def _of_scores(folder: Folder) -> Iterator[str]:
    for path, result in folder.results:
        # Scores during training are for their curve only.
        if path.name != FILE:
            continue
        conditions = result.get("conditions", {})
        samples = conditions.get("samples")
        if isinstance(samples, int) and samples < _PUBLISHED and "fid" in result["values"]:
            yield f"FID of {samples:,} samples is larger than FID of {_PUBLISHED:,}, which papers report."
        # A share of zero has a wide interval, however many samples there are.
        widest_float = [name for name, share in _widths(result) if share > _WIDE and not name.startswith("memorized")]
        if widest_float:
            yield f"The intervals of {', '.join(widest_float)} are wide ({samples} samples): take more samples."
        if conditions.get("invalid_samples"):
            yield f"{result['label']}: {conditions['invalid_samples']} samples were invalid; the scores exclude them."


def _widths(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, ends in result.get("intervals", {}).items():
        value = result["values"].get(name)
        if isinstance(value, int | float) and value > 0 and isinstance(ends, list) and len(ends) == 2:
            yield name, (ends[1] - ends[0]) / 2 / value
