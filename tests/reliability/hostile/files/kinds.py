"""Kinds of hostile files, and a registry that keeps the kinds of every module in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Make = Callable[[Path, Path], None]
"""``make(good, bad)`` writes a hostile file to ``bad``, which does not exist; ``good`` is the valid file."""

SECRET = "the-secret-of-the-environment"
"""Value of an environment variable that no command may print or store."""


@dataclass(frozen=True)
class Kind:
    """A kind of hostile file.

    Attributes:
        name: a short description.
        make: writes such a file.
        tag: it is tried at entrances with this tag.
        harmless: the command may also succeed, because not every such file can or must be recognized.
    """

    name: str
    make: Make
    tag: str
    harmless: bool = False


class Kinds:
    """Collect the kinds with one tag.

    Args:
        tag: see ``Kind``.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Kind] = []

    def kind(self, name: str, harmless: bool = False) -> Callable[[Make], Make]:
        """Decorate a function that writes a hostile file."""

        def keep(make: Make) -> Make:
            self.add(name, make, harmless)
            return make

        return keep

    def add(self, name: str, make: Make, harmless: bool = False) -> None:
        """Add a kind."""
        self.all.append(Kind(name, make, self.tag, harmless))
