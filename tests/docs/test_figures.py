"""Numbers in the documents are those written by the measuring commands.

A page marks them: ``<!-- from few_steps.json remedies -->`` ... ``<!-- /from -->``. Every number in between must
occur in this part of the file, rounded to the digits that the page shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT

_MARKED = re.compile(r"<!-- from (\S+\.json) ?(.*?) ?-->(.*?)<!-- /from -->", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?: %)?")
_CODE = re.compile(r"`[^`]*`|95 %")  # the level of all intervals is no measurement


def marked(page: Path) -> list[tuple[str, str, str]]:
    """Return file, keys and text of every marked part of a page."""
    return _MARKED.findall(page.read_text(encoding="utf-8"))


def numbers(node: Any) -> Iterator[float]:
    """Yield all numbers in a JSON node, including those in keys and strings."""
    if isinstance(node, dict):
        for item in node.items():
            yield from numbers(list(item))
    elif isinstance(node, list):
        for item in node:
            yield from numbers(item)
    elif isinstance(node, str):
        yield from (float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", node))
    elif node is not None:
        yield float(node)


def absent(text: str, known: list[float]) -> list[str]:
    """Return the numbers of a text that no known number rounds to; a known fraction matches a percentage."""
    missing = []
    for quoted in _NUMBER.findall(_CODE.sub("", text)):
        digits = Decimal(quoted.removesuffix(" %").replace(",", ""))
        half = 0.5001 * 10.0 ** min(digits.as_tuple().exponent, 0)
        scales = (1, 100) if quoted.endswith("%") else (1,)
        if not any(abs(abs(scale * value) - abs(float(digits))) <= half for value in known for scale in scales):
            missing.append(quoted)
    return missing


PARTS = [pytest.param(*part, id=f"{page.stem}: {part[0]} {part[1]}") for page in PAGES for part in marked(page)]


@pytest.mark.parametrize(("file", "keys", "text"), PARTS)
def test_quoted_numbers_were_measured(file: str, keys: str, text: str) -> None:
    node = json.loads((ROOT / "docs" / file).read_text(encoding="utf-8"))
    for key in filter(None, keys.split(" / ")):
        node = node[int(key) if isinstance(node, list) else key]
    assert not absent(text, list(numbers(node)))


def test_marks_do_not_split_a_paragraph() -> None:
    # Markdown starts a block of HTML at a line that begins with a comment.
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"^\S.*\n<!-- /?from[^\n]*-->\S.*$", text, re.MULTILINE), page


def test_a_wrong_number_is_found() -> None:
    known = [44.7557, -85.23, 0.1234, 1500.0]
    assert not absent("44.8 | 44.76 | -85 | 12 % of 1,500 | `7` | step2", known)
    assert absent("44.9 | -86 | 13 % | 1,501 | 0.13", known) == ["44.9", "-86", "13 %", "1,501", "0.13"]
