"""Memory, descriptors, threads and processes of long runs do not grow."""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.support.figures import Figures
from tests.reliability.support.long_run import UNITS, Resources, draw, leaks, run, write

MINUTES = float(os.environ.get("LONG_RUN_MINUTES", "35"))


def records(**growth_an_hour: float) -> list[Resources]:
    """Simulate half an hour of a process whose memory settles at 900 MB and whose workers come and go."""
    noise = random.Random(0)
    found = []
    for moment in range(360):
        minutes = moment / 12
        memory = 900 - 300 * math.exp(-minutes) + noise.uniform(-3, 3)
        steady = Resources(minutes, memory, 30 + noise.randint(0, 4), 12, noise.randint(0, 2))
        changes = {what: getattr(steady, what) + rise * minutes / 60 for what, rise in growth_an_hour.items()}
        found.append(replace(steady, **changes))
    return found


def test_constant_use_is_not_a_leak() -> None:
    assert not leaks(records())


@pytest.mark.parametrize(("what", "an_hour"), [("memory", 100), ("descriptors", 6), ("threads", 6), ("processes", 6)])
def test_growth_is_reported_as_a_leak(what: str, an_hour: float) -> None:
    (line,) = leaks(records(**{what: an_hour}))
    assert UNITS[what] in line


@pytest.mark.slow
@pytest.mark.timeout(int(60 * MINUTES) + 1200)
def test_training_with_scores_and_sampling_does_not_leak(tmp_path: Path, figures: Figures) -> None:
    jobs = run(MINUTES, tmp_path)
    of_jobs = {name: job.records for name, job in jobs.items()}
    write(of_jobs, tmp_path / "long_run.csv")
    draw(of_jobs, tmp_path / "memory.png")
    for name, job in jobs.items():
        code, left = job.stop()
        last = job.log.read_text().splitlines()[-1]
        assert code == 130 and last.startswith("error: ") and not left, (name, last, left)
        assert not leaks(job.records), name
    figures("minutes that training and sampling ran side by side without growing", {"minutes": int(MINUTES)})
