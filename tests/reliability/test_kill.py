"""SIGKILL at any moment costs nothing: the run that goes on ends where the undisturbed one does, bit for bit."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.support.deaths import MOMENTS, Death, traced
from tests.reliability.support.entry import Started
from tests.reliability.support.figures import Figures
from tests.reliability.support.runs import EVENTFUL, curve, differences, final_checkpoint, in_folder, only_run

_RANDOM_MOMENTS = 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of the run that nobody kills, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    # The first process waits for the imports.
    assert Started(["train.py", "--help"], folder).wait().code == 0
    begin = time.monotonic()
    ended = attempt(folder).wait()
    assert ended.code == 0, ended.err
    return folder, time.monotonic() - begin


def attempt(folder: Path, death: Death | None = None, trace: Path | None = None) -> Started:
    """The run begins, or goes on if it has a checkpoint."""
    goes_on = ["ckpt_path=last"] if any((folder / "logs").rglob("*.ckpt")) else []
    return Started(["train.py", *EVENTFUL, *goes_on, *in_folder(folder)], folder, death=death, trace=trace)


def finish(folder: Path) -> None:
    ended = attempt(folder).wait()
    assert ended.code == 0, ended.err


def assert_same(folder: Path, expected: Path) -> None:
    run, other = only_run(folder), only_run(expected)
    assert curve(run) == curve(other)
    assert not differences(final_checkpoint(run, folder), final_checkpoint(other, expected))
    # What is kept and what is not, the best checkpoint included.
    assert files(run) == files(other)


def report(figures: Figures, how: str, kills: Counter[str]) -> None:
    """Only a comparison that found nothing gets here."""
    figures(f"kills survived, {how}", kills)
    figures("killed runs compared bit by bit with the undisturbed one", {"no difference": 1})


def files(run: Path) -> list[str]:
    return sorted(path.name for part in ("checkpoints", "samples") for path in (run / part).iterdir())


@pytest.mark.timeout(600)
def test_killed_at_every_kind_of_moment_in_one_run(
    tmp_path: Path, undisturbed: tuple[Path, float], figures: Figures
) -> None:
    # One after the other in the same run. Calls are those since the process began.
    deaths = [
        Death("table", 3),  # before there is any checkpoint
        Death("training", 5),
        Death("checkpoint", 4),  # the best one
        Death("sampling", 2),
        Death("optimizer step", 4),
        Death("validation", 1),
        Death("renaming", 4),
        Death("validation", 1),  # where a checkpoint is due as well
        Death("removing", 1),
        Death("checkpoint", 2),  # the last one
        Death("scoring", 1),  # of the last step, made by the run that goes on
    ]
    assert {death.moment for death in deaths} == set(MOMENTS)
    for death in deaths:
        ended = attempt(tmp_path, death).wait()
        assert ended.code == -signal.SIGKILL, (death, ended.out, ended.err)
    finish(tmp_path)
    assert_same(tmp_path, undisturbed[0])
    report(figures, "at a chosen call", Counter(death.moment for death in deaths))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(_RANDOM_MOMENTS))
def test_killed_at_a_random_time(seed: int, tmp_path: Path, undisturbed: tuple[Path, float], figures: Figures) -> None:
    expected, seconds = undisturbed
    draw, kills, trace = random.Random(seed), Counter[str](), tmp_path / "trace"
    for _ in range(draw.randint(1, 3)):
        started = attempt(tmp_path, trace=trace)
        started.process.join(draw.uniform(0.2, 1.0) * seconds)
        if started.alive():
            started.send(signal.SIGKILL)
        code = started.wait().code
        assert code in (0, -signal.SIGKILL)
        if code:
            kills[traced(trace)] += 1
    finish(tmp_path)
    assert_same(tmp_path, expected)
    report(figures, "at a random time", kills)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_random_call(
    moment: str, tmp_path: Path, undisturbed: tuple[Path, float], figures: Figures
) -> None:
    draw, kills = random.Random(moment), 0
    for _ in range(3):
        # A call that never comes lets the run finish, which must not matter either.
        code = attempt(tmp_path, Death(moment, draw.randint(1, 24))).wait().code
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    finish(tmp_path)
    assert_same(tmp_path, undisturbed[0])
    report(figures, "at a chosen call", Counter({moment: kills}))
