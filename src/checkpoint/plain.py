"""Check that containers from a file are plain values, in a tree of limited size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UserError

_MAX_VALUES, _MAX_DEPTH, _MAX_TEXT = 100_000, 40, 100_000
_LARGEST = 2**63


def check_plain(value: Any, what: str, advice: str) -> None:
    """Raise UserError unless ``value`` is a tree of mappings with texts as keys, lists, texts, numbers and null.

    Values of a file are data. Interpolations are refused before OmegaConf sees them, because its resolvers read
    environment variables: a command that merges such a value would resolve it and write the result to manifests.
    Containers that contain themselves, or that many others share, would make the check endless.

    Args:
        value: value read from a file.
        what: the file, for the message.
        advice: what to give instead.
    """
    waiting, count = [(value, 0)], 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        problem = _problem(item)
        if depth > _MAX_DEPTH or count > _MAX_VALUES:
            problem = "is nested too deeply or too large"
        if problem is not None:
            raise UserError(f"{what}: the configuration {problem} and is not used: {advice}")
        if isinstance(item, Mapping):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple):
            waiting += [(part, depth + 1) for part in item]


def _problem(item: Any) -> str | None:
    if isinstance(item, str):
        if "${" in item:
            return f"contains the unresolved value {item[:80]!r}"
        return f"contains a text of {len(item):,} characters" if len(item) > _MAX_TEXT else None
    if isinstance(item, int):
        return "contains a number that is too large" if abs(item) >= _LARGEST else None
    if isinstance(item, Mapping):
        return None if all(isinstance(key, str) for key in item) else "has keys that are not texts"
    return None if item is None or isinstance(item, float | list | tuple) else f"contains a {type(item).__name__}"
