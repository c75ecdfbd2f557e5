"""SIGKILL at any moment: the resumed run ends bit for bit like an uninterrupted run."""

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
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Return the folder of an uninterrupted run and its duration in seconds."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    # The first process also imports everything; do not time it.
    assert Started(["train.py", "--help"], folder).wait().code == 0
    begin = time.monotonic()
    ended = attempt(folder).wait()
    assert ended.code == 0, ended.err
    return folder, time.monotonic() - begin


def attempt(folder: Path, death: Death | None = None, trace: Path | None = None) -> Started:
    """Start the run, or resume it if it has a checkpoint."""
    resume = ["ckpt_path=last"] if any((folder / "logs").rglob("*.ckpt")) else []
    return Started(["train.py", *EVENTFUL, *resume, *in_folder(folder)], folder, death=death, trace=trace)


def finish(folder: Path) -> None:
    ended = attempt(folder).wait()
    assert ended.code == 0, ended.err


def assert_same(folder: Path, expected: Path) -> None:
    run, other = only_run(folder), only_run(expected)
    assert curve(run) == curve(other)
    assert not differences(final_checkpoint(run, folder), final_checkpoint(other, expected))
    # The same files are kept, including the best checkpoint.
    assert files(run) == files(other)


def report(figures: Figures, how: str, kills: Counter[str]) -> None:
    """Count the kills; call only after the comparison."""
    figures(f"kills survived, {how}", kills)
    figures("killed runs compared bit by bit with the uninterrupted one", {"no difference": 1})


def files(run: Path) -> list[str]:
    return sorted(path.name for part in ("checkpoints", "samples") for path in (run / part).iterdir())


@pytest.mark.timeout(600)
def test_one_run_killed_at_every_kind_of_moment(
    tmp_path: Path, uninterrupted: tuple[Path, float], figures: Figures
) -> None:
    # One after the other in the same run; calls are counted from the start of the process.
    deaths = [
        Death("table", 3),  # before the first checkpoint
        Death("training", 5),
        Death("checkpoint", 4),  # the best checkpoint
        Death("sampling", 2),
        Death("optimizer step", 4),
        Death("validation", 1),
        Death("renaming", 4),
        Death("validation", 1),  # a checkpoint is due at the same step
        Death("removing", 1),
        Death("checkpoint", 2),  # the last checkpoint
        Death("scoring", 1),  # of the last step, in the resumed run
    ]
    assert {death.moment for death in deaths} == set(MOMENTS)
    for death in deaths:
        ended = attempt(tmp_path, death).wait()
        assert ended.code == -signal.SIGKILL, (death, ended.out, ended.err)
    finish(tmp_path)
    assert_same(tmp_path, uninterrupted[0])
    report(figures, "at a chosen call", Counter(death.moment for death in deaths))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(_RANDOM_MOMENTS))
def test_killed_at_a_random_time(
    seed: int, tmp_path: Path, uninterrupted: tuple[Path, float], figures: Figures
) -> None:
    expected, seconds = uninterrupted
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
    moment: str, tmp_path: Path, uninterrupted: tuple[Path, float], figures: Figures
) -> None:
    draw, kills = random.Random(moment), 0
    for _ in range(3):
        # If the call does not happen, the run finishes, which is also valid.
        code = attempt(tmp_path, Death(moment, draw.randint(1, 24))).wait().code
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    finish(tmp_path)
    assert_same(tmp_path, uninterrupted[0])
    report(figures, "at a chosen call", Counter({moment: kills}))
