"""Numbers of the documents that quote files of ``docs/results``.

A page marks them and names the field of each number, in order::

    <!-- from quickstart.json training / steps; sampling / seconds -->1,200 steps, 23 s<!-- /from -->

A table names the field of each column below the row's node; the first cell of a row is the key of the row, ``-`` stands
for a column without results, ``+`` joins the fields of a cell::

    <!-- table autoguidance.json rows: evaluations; values / recall + intervals / recall -->
    | | evaluations | recall |
    |---|---:|---|
    | without | 17 | 0.942 (0.922 to 0.963) |
    <!-- /table -->

In a list, an integer selects an item by its index, ``name=value`` the first item with this value, ``name=a|b`` one with
either, and any other key the item with this ``label``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

_MARKED = re.compile(r"<!-- (from|table) (\S+\.json) (.*?) -->(.*?)<!-- /\1 -->", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?: %)?")
_GENERATED = re.compile(r"<!-- (measured|missed) -->.*?<!-- /\1 -->", re.DOTALL)
_IGNORED = re.compile(r"`[^`]*`|95 %")  # code; the level of all intervals

# Not measured: code, comments, addresses, versions of software, equations and sections, years, sizes such as 8 x 8.
_CODE = r"^( *)```.*?^\1```|`[^`]*`|<!--.*?-->|\]\([^)]*\)"
_VERSION = r"\b(?:Python|SLURM|torch|lightning|numpy|wandb is)(?:,?\s(?:to |and |or )?\d+(?:\.\d+)+)+|Apache-2\.0"
_OTHER = r"\b(?:eq|sec)\. [\d.]+|(?<=[a-z.] )(?:19|20)\d\d\b|\b\d+ x \d+|95 %"
_NOT_MEASURED = re.compile(f"{_CODE}|{_VERSION}|{_OTHER}", re.DOTALL | re.MULTILINE)
_UNIT = r"%|ms|s|seconds?|minutes?|hours?|[kKMGT]i?B|dB|images/s|x|times(?= as)"
_MEASURED = re.compile(rf"(?<![\w.])(?:\d[\d,]*\.\d+(?!\w|\.\d)|\d[\d,]* ?(?:{_UNIT})(?![\w/]))")
_RESULT = re.compile(r"\b(?:passed|failed|skipped|kills?|attacks|faster|slower|FID|Fréchet|bits/dim|PSNR|distance)\b")
_SETTING = "samples|images|digits|steps|evaluations|times|bits"
_COUNTED = re.compile(rf"(?<![\w.-])\d[\d,]*(?! ?(?:{_SETTING})\b)(?![\w/-]|[.,]\d)")


@dataclass(frozen=True)
class Mark:
    """A marked part of a page: kind (``from`` or ``table``), results file, fields and text."""

    kind: str
    file: str
    fields: str
    text: str

    def mistakes(self, results: Any) -> list[str]:
        """Return what the text says and the results do not; an empty list if they agree."""
        return list(self._table(results) if self.kind == "table" else _compare(self.text, results, self.fields))

    def _table(self, results: Any) -> Iterator[str]:
        path, _, columns = self.fields.partition(":")
        fields = [field.strip() for field in columns.split(";")]
        lines = re.findall(r"^\|(.*)\|$", self.text, re.MULTILINE)
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
        for label, *cells in rows[2:]:
            try:
                node = select(select(results, path.strip()), re.sub(r"[*`]", "", label))
            except LookupError:
                yield f"no row {label}"
                continue
            for field, cell in zip(fields, cells, strict=True):
                if field != "-":
                    yield from _compare(cell, node, field.replace(" + ", ";"))


def marks(page: Path) -> list[Mark]:
    """Return the marked parts of a page."""
    return [Mark(*found) for found in _MARKED.findall(page.read_text(encoding="utf-8"))]


def unmarked(text: str, allowed: Iterable[str] = ()) -> list[str]:
    """Return the sentences and table rows with a measured number outside of marks, generated tables and code.

    Measured are decimal numbers, numbers with a unit, and in a sentence about results all numbers except settings such
    as "500 samples". Phrases of ``allowed`` are left out.
    """
    left = _NOT_MEASURED.sub(" ", _GENERATED.sub(" ", _MARKED.sub(" ", text)))
    found = []
    for block in re.split(r"\n\s*\n|\n(?= *(?:\||- ))", left):
        line = " ".join(block.split())
        for phrase in allowed:
            line = line.replace(phrase, "")
        found += re.split(r"(?<=[.:;!?]) ", line)
    return [part for part in found if _MEASURED.search(part) or (_RESULT.search(part) and _COUNTED.search(part))]


def select(node: Any, path: str) -> Any:
    """Return a part of the results.

    Raises:
        LookupError: there is no such part.
    """
    for key in filter(None, (key.strip() for key in path.split(" / "))):
        node = _item(node, key) if isinstance(node, list) else node[key]
    return node


def _item(items: list[Any], key: str) -> Any:
    if key.isdigit():
        return items[int(key)]
    name, _, values = key.rpartition("=")
    found = [item for item in items if str(item[name or "label"]) in values.split("|")]
    if not found:
        raise LookupError(key)
    return found[0]


def _compare(text: str, node: Any, fields: str) -> Iterator[str]:
    quoted = _NUMBER.findall(_IGNORED.sub("", text))
    known: list[float] = []
    try:
        for field in fields.split(";"):
            value = select(node, field)
            known += value if isinstance(value, list) else [value]
    except LookupError as error:
        if quoted:
            yield f"{text.strip()}: no field {error}"
        return
    if len(quoted) != len(known):
        yield f"{text.strip()}: {len(quoted)} numbers for {len(known)} fields"
    else:
        yield from (
            f"{word} is not {value:g}" for word, value in zip(quoted, known, strict=True) if not agree(word, value)
        )


def agree(quoted: str, value: float) -> bool:
    """Whether a value rounds to the quoted digits.

    A percentage may quote a fraction or percents; the digit 0 alone means exactly zero.
    """
    digits = Decimal(quoted.removesuffix(" %").replace(",", ""))
    if not digits:
        return abs(value) < 1e-6
    half = 0.5001 * 10.0 ** min(int(digits.as_tuple().exponent), 0)
    scales = (1, 100) if quoted.endswith("%") else (1,)
    return any(abs(scale * value - float(digits)) <= half for scale in scales)
