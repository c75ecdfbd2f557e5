"""Choose few combinations of settings that contain every pair of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

Pair = tuple[int, int, int, int]


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return combinations, one value per axis, that contain every pair of values of two axes at least once.

    Finds every fault that two settings cause together, with far fewer cases than the full product. Greedy: the
    combination with the most new pairs comes next.
    """
    combinations = list(itertools.product(*(range(len(axis)) for axis in axes)))
    missing = {pair for combination in combinations for pair in _pairs(combination)}
    chosen = []
    while missing:
        best = max(combinations, key=lambda combination: len(missing.intersection(_pairs(combination))))
        missing.difference_update(_pairs(best))
        chosen.append(tuple(axis[i] for axis, i in zip(axes, best, strict=True)))
    return chosen


def _pairs(combination: Sequence[int]) -> Iterable[Pair]:
    return [(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(combination), 2)]
