"""What a kind of hostile file is, and a registry that keeps the kinds of every module in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Make = Callable[[Path, Path], None]
"""``make(good, bad)`` puts a hostile file at ``bad``, where nothing is; ``good`` is the file that belongs there."""

SECRET = "the-secret-of-the-environment"
"""Value of an environment variable that no file may read."""


@dataclass(frozen=True)
class Kind:
    """A kind of hostile file.

    Attributes:
        name: a few words.
        make: makes one.
        tag: entrances with this tag are tried.
        harmless: the command may also do its work, since not every such file can be told from a good one, or need be.
    """

    name: str
    make: Make
    tag: str
    harmless: bool = False


class Kinds:
    """Collects kinds of one tag.

    Args:
        tag: see ``Kind``.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Kind] = []

    def kind(self, name: str, harmless: bool = False) -> Callable[[Make], Make]:
        """Decorate a function that makes a hostile file."""

        def keep(make: Make) -> Make:
            self.add(name, make, harmless)
            return make

        return keep

    def add(self, name: str, make: Make, harmless: bool = False) -> None:
        """Add a kind."""
        self.all.append(Kind(name, make, self.tag, harmless))
