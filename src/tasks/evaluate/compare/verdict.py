"""Results and sentences about the scores of groups of trainings, for ``metrics.json`` and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ....errors import UserError
from ....io.results import is_finite
from ....metrics.intervals import Estimate
from ....metrics.variance import Difference, difference, spread, trainings_needed
from ....sinks.record import Result

SPREAD, COMPARE = "spread", "compare"

ScoreTable = list[list[float | None]]
"""Scores [training][draw] of a group; None for a draw without a score."""


def complete_draws(tables: Mapping[str, ScoreTable]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the scores (trainings, draws) of every group, for the draws that all trainings have, and notes.

    Raises:
        UserError: there is no draw with a score for every training.
    """
    rows = [row for table in tables.values() for row in table]
    draws = range(min(map(len, rows)))
    kept = [j for j in draws if all(is_finite(row[j]) for row in rows)]
    if not kept:
        raise UserError(
            "no draw has a score for every training: look in metrics.json for samples that diverged, and "
            "leave those trainings out"
        )
    lost = max(map(len, rows)) - len(kept)
    notes = [f"{lost} draws are left out because some trainings have no score there"] if lost else []
    return {name: torch.tensor([[row[j] for j in kept] for row in t]) for name, t in tables.items()}, notes


def spreads(scores: Mapping[str, Tensor], score: str, base: Mapping[str, Result]) -> list[Result]:
    """Return the mean and the standard deviations of each group.

    Args:
        scores: (trainings, draws) for each group.
        score: name of the score.
        base: one result of each group, whose conditions hold for all of its results.
    """
    results = []
    for name, table in scores.items():
        found = spread(table)
        result = _result(SPREAD, name, {"group": name}, [base[name]], score, [table])
        for key, estimate in zip(("mean", "between_trainings", "between_draws"), found, strict=True):
            _keep(result, key, estimate)
        result.details.update({f"training {i}": row.tolist() for i, row in enumerate(table)})
        results.append(result)
    return results


def differences(scores: Mapping[str, Tensor], score: str, base: Mapping[str, Result]) -> list[Result]:
    """Compare every pair of groups, with a verdict in ``notes``; the intervals hold for all pairs together
    (Bonferroni).
    """
    pairs = list(combinations(scores, 2))
    results = []
    for a, b in pairs:
        tables = scores[a], scores[b]
        level = 1 - 0.05 / len(pairs)
        found = difference(*tables, level)
        result = _result(COMPARE, f"{a} - {b}", {"groups": [a, b]}, [base[a], base[b]], score, tables)
        _keep(result, "difference", found.settings)
        result.values["p_value"] = _number(found.p_value)
        if _number(found.trainings.low) is not None:
            result.values["difference_of_these_trainings"] = float(found.trainings.value)
            result.intervals["difference_of_these_trainings"] = [float(x) for x in found.trainings[1:]]
        result.conditions |= {"level": level, "comparisons": len(pairs)}
        result.notes.append(verdict(a, b, score, *tables, found, level))
        results.append(result)
    return results


def verdict(a: str, b: str, score: str, scores_a: Tensor, scores_b: Tensor, found: Difference, level: float) -> str:
    """Say in one line whether the difference is conclusive."""
    value, low, high = (float(x) for x in found.settings)
    trainings, draws = f"{len(scores_a)} and {len(scores_b)} trainings", _draws(scores_a.shape[-1])
    measured = f"{score} of {a} minus {score} of {b} is {value:.4g}"
    if math.isnan(low):
        return f"{measured}, {_of_these(found.trainings)}. {_ONE_TRAINING}"
    measured += f" ({low:.4g} to {high:.4g}, {100 * level:.4g} % interval, {trainings}, {draws})"
    if low > 0 or high < 0:
        side = "lower" if value < 0 else "higher"
        return f"conclusive: {a} is {side} than {b}. {measured}"
    text = f"not conclusive: {measured}, and the interval contains 0"
    needed = trainings_needed(scores_a, scores_b)
    if needed is not None and needed > max(len(scores_a), len(scores_b)):
        text += f". If the difference is real, about {needed} trainings per setting would show it"
    if _excludes_zero(found.trainings):
        text += ". These trainings differ; only more trainings can show whether the settings differ"
    return text


_ONE_TRAINING = (
    "One training per group cannot show whether the settings differ. Train more, with -m seed.init=1,2,3, and "
    "give the sweep's folder"
)


def _draws(count: int) -> str:
    return "one draw of each" if count == 1 else f"{count} draws of each"


def _of_these(estimate: Estimate) -> str:
    if math.isnan(float(estimate.low)):
        return "of a single draw"
    state = "differ" if _excludes_zero(estimate) else "do not differ by more than their draws do"
    return f"the trainings {state} ({float(estimate.low):.4g} to {float(estimate.high):.4g})"


def _excludes_zero(estimate: Estimate) -> bool:
    return bool(estimate.low > 0) or bool(estimate.high < 0)


def _result(
    task: str,
    label: str,
    subject: Mapping[str, Any],
    base: Sequence[Result],
    score: str,
    tables: Sequence[Tensor],
) -> Result:
    settings = {key: value for key, value in base[0].settings.items() if key != "seed"}
    per_run = ("seed", "seconds_per_image", "batch_size", "device", "nfe", "invalid_samples")
    shared = {
        key: value
        for key, value in base[0].conditions.items()
        if key not in per_run and all(other.conditions.get(key) == value for other in base)
    }
    conditions = {
        "score": score,
        "trainings": ", ".join(str(len(table)) for table in tables),
        "draws": tables[0].shape[-1],
        **shared,
    }
    return Result(task, label, dict(subject), settings, conditions=conditions, protocol=dict(base[0].protocol))


def _keep(result: Result, name: str, estimate: Estimate) -> None:
    result.values[name] = _number(estimate.value)
    ends = [_number(end) for end in estimate[1:]]
    if None not in ends:
        result.intervals[name] = [float(end) for end in estimate[1:]]


def _number(value: Tensor) -> float | None:
    return float(value) if math.isfinite(float(value)) else None
