import json
import sys
from pathlib import Path

import pytest

from bench import report
from bench.rows import row
from bench.timing import Timing, difference, interleaved, ratio

MACHINE = {"processor": "abacus, 1 core", "torch": "0.1"}


def test_median_and_quartiles() -> None:
    timing = Timing((1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.low, timing.median, timing.high) == (2.0, 3.0, 4.0)
    assert Timing((7.0,)).low == Timing((7.0,)).high == 7.0
    assert timing.scaled(2).median == 6.0


def test_timings_are_compared_within_a_round() -> None:
    # The machine was three times slower in the second round: the ratio is unchanged.
    slow, fast = Timing((2.0, 6.0)), Timing((1.0, 3.0))
    assert ratio(slow, fast).seconds == (2.0, 2.0)
    assert difference(slow, fast).seconds == (1.0, 3.0)


def test_alternatives_are_interleaved_within_the_budget() -> None:
    order: list[str] = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=9, budget=0.0)
    assert order == ["a", "b"] * 3
    assert all(len(timing.seconds) == 2 for timing in times.values())


@pytest.mark.parametrize(("value", "met"), [(1.5, False), (1.6, True), (2.0, True)])
def test_lower_and_upper_targets(value: float, met: bool) -> None:
    assert row("s", "speed", value, "x", at_least=1.6).met is met
    assert row("s", "memory", -value, "x", at_most=-1.6).met is met
    assert row("s", "fact", value, "x").met is None


def test_a_new_measurement_replaces_only_its_section(tmp_path: Path) -> None:
    results, page = tmp_path / "performance.json", tmp_path / "performance.md"
    page.write_text(
        "# Title\n\n<!-- missed -->\n<!-- /missed -->\n<!-- measured -->\nold\n<!-- /measured -->\n\nmore\n"
    )
    report.save(
        results, "first", MACHINE, [row("net", "forward", Timing((1.0, 2.0, 3.0)), "s"), row("disk", "a", 1.0, "")]
    )
    report.save(results, "second", MACHINE, [row("net", "forward", 0.5, "s", at_most=0.4)])
    content = json.loads(results.read_text())
    assert {section: part["command"] for section, part in content.items()} == {"net": "second", "disk": "first"}
    report.insert(page, results)
    report.insert(page, results)
    text = page.read_text()
    assert text.startswith("# Title\n\n") and text.endswith("\n\nmore\n")
    assert text.count("\n| forward |") == 1 and "old" not in text
    assert "| forward | 0.5 s |  | 1 | at most 0.4 | **missed** |" in text
    assert text.count("| net | forward | 0.5 s | at most 0.4 |") == 1 and "| disk | a |" not in text
    assert "abacus" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["performance.json", "performance.md"]


def test_a_page_without_marks_is_not_changed(tmp_path: Path) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("nothing")
    results.write_text("{}")
    with pytest.raises(ValueError, match="has no <!-- missed -->"):
        report.insert(page, results)
    assert page.read_text() == "nothing"


def test_the_page_has_the_tables_of_the_results() -> None:
    results, page = json.loads(report.RESULTS.read_text()), report.PAGE.read_text()
    assert report.markdown(results) in page and report.missed(results) in page


def test_an_unknown_section_gives_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    monkeypatch.setattr(sys, "argv", ["bench", "nets"])
    with pytest.raises(SystemExit):
        main()
    assert "unknown section nets: choose from startup, pipeline" in capsys.readouterr().err
