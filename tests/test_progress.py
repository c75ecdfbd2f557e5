"""Progress lines: correct numbers, at intervals, and always at the end."""

from __future__ import annotations

import logging
import threading

import pytest

from src.progress import LongCall, Progress, duration, state


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_rate_and_time_left() -> None:
    assert state(250, 1000, "images", 5.0) == "250 of 1,000 images, 5/s, 2:30 left"
    assert state(1, 3, "images", 0.25) == "1 of 3 images, 4 s each, 0:08 left"
    assert state(0, 3, "images", 0.0).endswith("? left")


def test_lines_at_intervals_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO), Progress("sampling", 10, every=5, terminal=False, clock=clock) as progress:
        for _ in range(9):
            clock.now += 2
            progress.set_fraction(0.5)
            progress.add(1)
        clock.now += 0.5
        progress.add(1)
    assert [line.split(",")[0] for line in caplog.messages] == [
        "sampling: 2 of 10 images",
        "sampling: 5 of 10 images",
        "sampling: 8 of 10 images",
        "sampling: 10 of 10 images",
    ]


def test_a_long_call_tells_its_duration_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    clock, reported, waited = Clock(), threading.Event(), []

    def wait(ended: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        clock.now += seconds
        if len(waited) <= 2:
            return False
        reported.set()
        return ended.wait(30)

    with caplog.at_level(logging.INFO):
        with LongCall("computing fid", every=20, clock=clock, wait=wait):
            assert reported.wait(30)
        assert caplog.messages == ["computing fid has taken 0:20 so far", "computing fid has taken 0:40 so far"]
    assert set(waited) == {20}


@pytest.mark.parametrize("enabled", [True, False])
def test_the_end_of_a_long_call_ends_its_thread(enabled: bool) -> None:
    before = set(threading.enumerate())
    with LongCall("computing fid", every=1e6, enabled=enabled):
        made = set(threading.enumerate()) - before
        assert len(made) == enabled
    for thread in made:
        thread.join(30)
        assert not thread.is_alive()


def test_work_before_the_first_report_is_a_long_call() -> None:
    before = set(threading.enumerate())
    with Progress("sampling", 10, terminal=False) as progress:
        (waiting,) = set(threading.enumerate()) - before
        progress.set_fraction(0.1)
        waiting.join(30)
        assert not waiting.is_alive()


def test_an_unknown_total_has_no_time_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO), Progress("statistics", None, every=5, terminal=False, clock=clock) as progress:
        clock.now += 10
        progress.add(50)
    assert caplog.messages == ["statistics: 50 images, 5/s"]


def test_only_rank_zero_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("sampling", 3, every=0, enabled=False, terminal=True) as progress:
        progress.add(3)
    assert caplog.messages == []


def test_a_terminal_shows_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with Progress("scoring", 4, terminal=True) as progress:
        progress.add(4)
    assert "scoring" in capsys.readouterr().err
