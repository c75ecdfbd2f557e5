"""Numbers in the documents are those written by the measuring commands, in their rows and columns."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import report
from tests.docs.figures import Mark, marks, unmarked_rows
from tests.docs.pages import PAGES, ROOT

PARTS = [
    pytest.param(mark, id=f"{page.stem}: {mark.file} {mark.fields[:40]}") for page in PAGES for mark in marks(page)
]


@pytest.mark.parametrize("mark", PARTS)
def test_quoted_numbers_were_measured(mark: Mark) -> None:
    assert not mark.mistakes(json.loads((ROOT / "docs/results" / mark.file).read_text(encoding="utf-8")))


# Published by others; a limit and targets; counts that test runs print, and what the tests of hostile files need.
WITHOUT_FILE = ("| FID | 100 | 32 |", "| compiled steps: compilation exceeded")
PAGES_OF_COUNTS = ("reliability.md",)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in PAGES_OF_COUNTS], ids=lambda page: page.name
)
def test_measured_numbers_in_tables_are_marked(page: Path) -> None:
    assert not [row for row in unmarked_rows(page.read_text(encoding="utf-8")) if not row.startswith(WITHOUT_FILE)]


def test_an_unmarked_number_is_found() -> None:
    table = "| a | b |\n|---|---|\n| x | 0.5 |\n| `1.5` | 1.5.2 |\n| y | 7 ms |\n"
    assert unmarked_rows(table) == ["| x | 0.5 |", "| y | 7 ms |"]
    assert not unmarked_rows(f"<!-- table a.json : b -->\n{table}<!-- /table -->")


def test_every_mark_is_closed() -> None:
    for page in PAGES:
        text = re.sub("`.*?`", "", page.read_text(encoding="utf-8"))
        assert len(re.findall("<!-- (?:from|table) ", text)) == len(marks(page)), page


def test_marks_do_not_split_a_paragraph() -> None:
    # Markdown starts a block of HTML at a line that begins with a comment.
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"^\S.*\n<!-- /?from[^\n]*-->\S.*$", text, re.MULTILINE), page


def test_tables_of_the_benchmark_are_those_of_its_results(tmp_path: Path) -> None:
    page = Path(shutil.copy(report.PAGE, tmp_path))
    report.insert(page, report.RESULTS)
    assert page.read_text(encoding="utf-8") == report.PAGE.read_text(encoding="utf-8")


RESULTS = {
    "Heun": {"nfe": 35, "distance": 0.2205, "interval": [0.19, 0.25], "broken": 0.166},
    "SDE": {"nfe": 34, "distance": 0.0797, "interval": [0.07, 0.09], "broken": 0.0},
    "points": [{"nfe": 1, "loss": -85.23}, {"nfe": 4, "loss": 1500.0}],
}
TABLE = """
| | evaluations | note | distance | broken |
|---|---:|---|---|---:|
| `Heun` | 35 | 7 | 0.221 (0.19 to 0.25) | 17 % |
| **SDE** | 34 | 8 | 0.08 (0.07 to 0.09) | 0 |
"""
FIELDS = ": nfe; -; distance + interval; broken"


def test_right_tables_and_texts_pass() -> None:
    assert not Mark("table", "a.json", FIELDS, TABLE).mistakes(RESULTS)
    fields = "points / nfe=1 / loss; points / nfe=3|4 / loss; Heun / broken"
    assert not Mark("from", "a.json", fields, "-85 and 1,500 with `4` steps: 16.6 %").mistakes(RESULTS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("0.221", "0.222"),
        ("17 %", "16 %"),
        ("`Heun` | 35", "`Heun` | 34"),
        ("`Heun`", "`Heun2`"),
        ("| 0 |", "| |"),
        ("(0.19 to 0.25)", "(0.25 to 0.19)"),
    ],
)
def test_a_wrong_cell_is_found(right: str, wrong: str) -> None:
    assert Mark("table", "a.json", FIELDS, TABLE.replace(right, wrong)).mistakes(RESULTS)


def test_swapped_rows_and_columns_are_found() -> None:
    swapped = TABLE.replace("`Heun`", "HEUN").replace("**SDE**", "Heun").replace("HEUN", "SDE")
    assert len(Mark("table", "a.json", FIELDS, swapped).mistakes(RESULTS)) == 10
    assert Mark("table", "a.json", ": nfe; -; broken; distance + interval", TABLE).mistakes(RESULTS)
    assert Mark("from", "a.json", "SDE / nfe; Heun / nfe", "35 and 34").mistakes(RESULTS)
