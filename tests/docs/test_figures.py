"""Numbers in the documents are those written by the measuring commands, in their rows and columns."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import report
from tests.docs.figures import Mark, marks, unmarked
from tests.docs.pages import PAGES, ROOT

PARTS = [
    pytest.param(mark, id=f"{page.stem}: {mark.file} {mark.fields[:40]}") for page in PAGES for mark in marks(page)
]


@pytest.mark.parametrize("mark", PARTS)
def test_quoted_numbers_were_measured(mark: Mark) -> None:
    assert not mark.mistakes(json.loads((ROOT / "docs/results" / mark.file).read_text(encoding="utf-8")))


# Numbers that no command measured.
ALLOWED = {
    "settings and definitions": (
        "10 GB of disk",
        "1.3 million steps",
        "nearest 1 % of the test images",
        "10 % more noise than the stated",
        "below sigma = 0.25",
        "uses sigma = 0.5",
        "with a scale of 1.5",
        "more than 90 % sure",
        "classifier probability above 90 %",
        "no digit a probability of 0.3",
        "samples of N(0.25, 0.5²)",
        "exact value is 0.5",
        "noise with 0.9 of its standard deviation",
        "noise of 6.4 % of the variance",
    ),
    "limits and targets": (
        "0.09 with one evaluation, 0.07 with two, and a recognized share of 70 %",
        "the limit of 50 s for one forward pass | 4x textbook, 3,500 images/s",
        "files above 2 GB",
    ),
    "simulated by a test, which checks the number": (
        "3 to 7 % of the comparisons",
        "wrong in more than 30 %",
        "memory grows by 2 %",
        "leaks of 100 MB and of 6 descriptors per hour",
    ),
    "published by others": (
        "| FID | 100 | 32 | 11 | 2.46 |",
        "normal with mean -0.4",
    ),
}
PHRASES = [phrase for phrases in ALLOWED.values() for phrase in phrases]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_measured_numbers_are_marked(page: Path) -> None:
    assert not unmarked(page.read_text(encoding="utf-8"), PHRASES)


def test_every_allowed_phrase_is_used() -> None:
    found = [part for page in PAGES for part in unmarked(page.read_text(encoding="utf-8"))]
    assert not [phrase for phrase in PHRASES if not any(phrase in part for part in found)]


@pytest.mark.parametrize(
    "planted",
    [
        "A step takes 7 ms.",
        "It needs 3.5 times\nas long.",
        "Sampling is 3x faster.",
        "The share is 12 %, measured with `a.py`.",
        "- the loss is 0.25",
        "| x | 0.5 |",
        "The FID of 500 samples is 12.",
        "All 12 cases passed.",
    ],
)
def test_an_unmarked_number_is_found(planted: str) -> None:
    page = f"Text.\n\n{planted}\n\nMore text."
    assert len(unmarked(page)) == 1
    assert not unmarked(page.replace(planted, f"<!-- from a.json b -->{planted}<!-- /from -->"))
    assert not unmarked(page, [" ".join(planted.replace("`a.py`", " ").split())])


@pytest.mark.parametrize(
    "text",
    [
        "Images of 8 x 8 pixels, seed 3, 1,200 steps, with Python 3.11 to 3.13 and torch 2.6.0.",
        "The distance of 500 samples, `net.lr=0.5`, has a 95 % interval (Efron et al. 1993, eq. 1.5).",
        "```bash\nsleep 7 s\n```",
        "[text](images/a_1.5.png)",
    ],
)
def test_settings_versions_and_code_are_not_measured(text: str) -> None:
    assert not unmarked(text)


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
