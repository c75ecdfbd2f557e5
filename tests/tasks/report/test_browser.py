"""The report in Chromium: plots and pictures are shown, the console is empty, nothing is loaded from the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.tasks.report.task import write_report
from tests.tasks.report.browser import PROGRAM, Browser
from tests.tasks.report.example import HOSTILE, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (on Debian: apt install chromium)"),
]

BROKEN = "[...document.images].filter((image) => !image.hidden && image.naturalWidth === 0).length"
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report([write_run(tmp_path_factory.mktemp("run") / "run")])


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["desktop-light", "phone-dark"])
def test_plots_and_pictures_are_shown_without_console_messages(width: int, dark: bool, browser, report) -> None:
    browser.complaints.clear()
    browser.open(report, width, dark=dark)
    figures = browser.ask("JSON.parse(document.getElementById('figures').textContent).length")
    assert figures == 6
    assert (
        browser.ask("[...document.querySelectorAll('.canvas')].filter((c) => c.querySelector('.trace')).length")
        == figures
    )
    assert browser.ask(BROKEN) == 0 and not browser.ask(TOO_WIDE)
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    text = browser.ask("getComputedStyle(document.querySelector('.canvas .xtick text')).fill")
    assert text == ("rgb(230, 233, 237)" if dark else "rgb(22, 25, 29)")
    assert browser.complaints == []


def test_the_verdict_and_the_sheet_of_real_runs_are_readable_everywhere(browser, real_runs, tmp_path: Path) -> None:
    report = write_report([real_runs], tmp_path / "report.html")
    for width, media in ((1280, ""), (390, ""), (720, "print")):
        browser.complaints.clear()
        browser.open(report, width, media=media)
        seen = browser.ask("document.body.innerText")
        assert "Do the settings differ?" in seen and "2 and 2 trainings" in seen
        assert browser.ask("document.querySelectorAll('.sheet img').length") == 1
        figures = browser.ask("JSON.parse(document.getElementById('figures').textContent).length")
        drawn = (
            "[...document.querySelectorAll('.canvas')].filter((c) => c.querySelector('.trace, .scatterlayer')).length"
        )
        assert browser.ask(drawn) == figures > 0
        assert browser.ask(BROKEN) == 0 and not browser.ask(TOO_WIDE)
        assert browser.complaints == []


def test_the_slider_selects_the_step(browser, report) -> None:
    browser.open(report)
    shown = "[...document.querySelectorAll('.film img')].filter((i) => !i.hidden).map((i) => i.dataset.step).join()"
    assert browser.ask(shown) == "1200"
    slider = "document.querySelector('.film input')"
    browser.ask(f"{slider}.value = 0; {slider}.dispatchEvent(new Event('input')); 0")
    assert browser.ask(shown) == "400" and browser.ask("document.querySelector('output').textContent") == "400"


def test_hovering_shows_the_value_and_its_interval(browser, report) -> None:
    browser.open(report)
    canvas = "[...document.querySelectorAll('.canvas')].find((c) => c.data[0].error_y)"
    browser.ask(f"Plotly.Fx.hover({canvas}, [{{curveNumber: 0, pointNumber: 0}}]); 0")
    assert "5 (4.5 to 5.5)" in browser.ask(f"{canvas}.querySelector('.hoverlayer').textContent")


def test_the_page_can_be_printed(browser, report) -> None:
    browser.open(report)
    assert browser.printed().startswith(b"%PDF")


def test_hostile_names_run_no_script(browser, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", HOSTILE), write_run(tmp_path / "b", HOSTILE, lr=0.01)]
    browser.complaints.clear()
    browser.open(write_report(runs, tmp_path / "report.html"))
    assert "hacked" not in browser.ask("document.title.replace(/document.title='hacked'/g, '')")
    assert browser.ask("document.querySelectorAll('img[src=x]').length") == 0
    # The content security policy blocks scripts even without escaping.
    inject = "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
    inject += "document.body.append(s); return window.ran; })()"
    assert browser.complaints == []
    assert browser.ask(inject) is None
