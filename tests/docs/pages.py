"""The documents of the project, their fenced blocks and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block: page, language, title (empty without one) and text."""

    page: Path
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [
        Block(page, language, (_TITLE.search(rest) or ["", ""])[1], re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        for indent, language, rest, text in found
    ]


def files(page: Path) -> dict[str, str]:
    """Return the files that a page defines; blocks with the same title are parts of one file."""
    made: dict[str, str] = {}
    for block in blocks(page):
        if block.title:
            made[block.title] = made.get(block.title, "") + block.text
    return made


def lines(text: str) -> Iterator[str]:
    """Yield the shell lines of a block: continuations joined, comments and empty lines removed."""
    heredoc = ""
    for line in text.replace("\\\n", " ").splitlines():
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
            continue
        if found := re.search(r"<<'?(\w+)'?", line):
            heredoc = found[1]
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def words(line: str) -> list[str]:
    """Split a shell line into words, without its comment."""
    return shlex.split(line, comments=True)
