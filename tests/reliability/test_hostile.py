"""Hostile files at every entrance: one error line; no hang, no large memory use, no changed file, no executed code."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.reliability.hostile.watch import CASES, ENTRANCES, KINDS, Case, run
from tests.reliability.support.figures import Figures


def spread(count: int) -> list[Case]:
    """Return cases of every entrance in turn, drawn at random with a fixed seed."""
    draw = random.Random(1)
    of_entrance = {entrance.name: [c for c in CASES if c.entrance.name == entrance.name] for entrance in ENTRANCES}
    chosen: list[Case] = []
    while len(chosen) < count:
        chosen += [cases.pop(draw.randrange(len(cases))) for cases in of_entrance.values()]
    return chosen[:count]


def check(cases: Sequence[Case], folder: Path, figures: Figures) -> None:
    outcomes = list(run(cases, folder))
    assert [outcome.case for outcome in outcomes] == [case.name for case in cases]
    wrong = [f"{outcome.case}: {outcome.ended}: {outcome.line}" for outcome in outcomes if not outcome.good]
    assert not wrong, "\n".join(wrong)
    figures("hostile files", Counter(outcome.ended for outcome in outcomes))


def test_there_are_more_than_300_kinds() -> None:
    assert len({kind.name for kind in KINDS}) > 300
    assert all(any(kind.tag in entrance.tags for entrance in ENTRANCES) for kind in KINDS)


def test_one_random_kind_at_every_entrance(tmp_path: Path, figures: Figures) -> None:
    check(spread(len(ENTRANCES)), tmp_path, figures)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_kind_at_every_entrance(tmp_path: Path, figures: Figures) -> None:
    check(CASES, tmp_path, figures)
