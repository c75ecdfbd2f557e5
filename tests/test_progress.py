"""Progress lines: correct numbers, at intervals, and always at the end."""

from __future__ import annotations

import logging

import pytest

from src.progress import Progress, duration, state


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


def test_only_rank_zero_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("sampling", 3, every=0, enabled=False, terminal=True) as progress:
        progress.add(3)
    assert caplog.messages == []


def test_a_terminal_shows_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with Progress("scoring", 4, terminal=True) as progress:
        progress.add(4)
    assert "scoring" in capsys.readouterr().err
