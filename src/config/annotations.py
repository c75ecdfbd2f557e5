"""Compare plain values with the annotations of the parameters that they are given to.

Settings come from command lines and files, so a word may stand where a number is needed. Only plain annotations are
checked (numbers, switches, texts, lists, literals and unions of them); all other annotations accept every value.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

_LISTS = (list, tuple, Sequence, Collection, Iterable)
_LARGEST = 2**63
_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}


def mismatch(function: Callable[..., Any], settings: Mapping[str, Any]) -> tuple[str, Any, str] | None:
    """Find the first setting that does not fit the annotation of its parameter.

    Returns:
        Its name, its value and what to give instead; an entry of a mapping has a dotted name.

    Args:
        function: a class or function.
        settings: plain values by the name of the parameter; objects that were built already fit everywhere.
    """
    hints, defaults = _parameters(function)
    for name, value in settings.items():
        if name not in hints or _fits(value, hints[name]):
            continue
        default = defaults.get(name)
        # A limit whose default is None may be infinite.
        if isinstance(default, float) and math.isinf(default) and value in (math.inf, -math.inf):
            continue
        entry = _first_mismatch(value, hints[name])
        if entry is not None:
            key, kind = entry
            return f"{name}.{key}", value[key], _wanted(value[key], kind, None)
        return name, value, _wanted(value, hints[name], default)
    return None


def _first_mismatch(value: Any, hint: Any) -> tuple[Any, Any] | None:
    """Return the first key of a mapping whose value does not fit, and the annotation of the values."""
    for part in typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,):
        if isinstance(value, Mapping) and typing.get_origin(part) in (dict, Mapping):
            kind = typing.get_args(part)[1]
            return next(((key, kind) for key, item in value.items() if not _fits(item, kind)), None)
    return None


def shortened(value: Any) -> str:
    """Shorten a value to one line for a message."""
    text = repr(value) if isinstance(value, list | tuple | dict) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotations and defaults by name; a class that passes ``**settings`` on has those of its base classes too."""
    hints: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for part in inspect.getmro(function) if inspect.isclass(function) else (function,):
        try:
            parameters = inspect.signature(part).parameters
            found = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
        # Written in C, or annotated with names that exist only for type checkers.
        except Exception:
            break
        hints = {name: found[name] for name in parameters if name in found} | hints
        defaults = {name: p.default for name, p in parameters.items()} | defaults
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return hints, defaults


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(value, Mapping) and "_target_" in value:
        # A node becomes an object.
        return True
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in _LISTS or hint in _LISTS:
        return _fits_list(value, origin or hint, typing.get_args(hint))
    if hint is bool:
        return isinstance(value, bool) or not _is_plain(value)
    if hint is int:
        # Larger numbers do not fit into any tensor or loop.
        return (is_whole(value) and abs(value) < _LARGEST) or not _is_plain(value)
    if hint is float:
        return (is_number(value) and abs(value) < 1e308) or not _is_plain(value)
    if hint in (str, Path):
        return isinstance(value, str) or not _is_plain(value)
    if hint is type(None):
        return value is None
    if origin in (dict, Mapping):
        if isinstance(value, Mapping):
            return all(_fits(item, typing.get_args(hint)[1]) for item in value.values())
        return not _is_plain(value)
    if inspect.isclass(hint) and hint not in (Any, object):
        # Objects are built from nodes; a plain value is never an object.
        return not _is_plain(value) or _is_instance(value, hint)
    return True


def _is_instance(value: Any, hint: type) -> bool:
    try:
        return isinstance(value, hint)
    except TypeError:
        # A protocol that exists only for type checkers.
        return True


def _fits_list(value: Any, kind: Any, parts: tuple[Any, ...]) -> bool:
    if not isinstance(value, list | tuple):
        # A text is a sequence too, but its letters are never meant as list items.
        return not _is_plain(value) and not isinstance(value, Mapping)
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(_fits(item, part) for item, part in zip(value, parts, strict=True))
    return not parts or all(_fits(item, parts[0]) for item in value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | list | tuple | dict) or value is None


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is an int and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is an int or a float, but not a bool and not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _wanted(value: Any, hint: Any, default: Any) -> str:
    """Describe a valid value, for example ``a whole number, for example 4, or null``."""
    if isinstance(value, float) and not math.isfinite(value):
        return "give a finite number"
    names = list(dict.fromkeys(_names(hint)))
    plain = isinstance(default, int | float | str) and not isinstance(default, bool)
    example = f", for example {default}" if plain and default != "" else ""
    if isinstance(value, float) and value.is_integer() and "a whole number" in names:
        example = f", for example {int(value)}"
    return f"give {' or '.join(names) or 'settings of an object'}{example}"


def _names(hint: Any) -> Iterator[str]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _names(part)
    elif origin is typing.Literal:
        yield f"one of {', '.join(map(str, typing.get_args(hint)))}"
    elif origin in _LISTS or hint in _LISTS:
        parts = typing.get_args(hint)
        if origin is tuple and parts and parts[-1] is not Ellipsis:
            yield f"a list of {len(parts)} values"
        else:
            inner = next(_names(parts[0]), "values") if parts else "values"
            yield f"a list of {inner.removeprefix('a ').removesuffix('s')}s"
    elif origin in (dict, Mapping):
        yield "a mapping"
    elif hint in _NAMES:
        yield _NAMES[hint]
    # Other classes are built from nodes, which nobody types as a value.
