"""Build objects from plain configuration nodes.

``{"_target_": "src.sde.VESDE", "sigma_max": 50.0}`` becomes ``VESDE(sigma_max=50.0)``, in Hydra's format. Values are
data: nothing in them is interpolated, resolved or imported, except what ``_target_`` names. In every configuration the
package is called ``src``; targets are looked up in the package that contains this file, whatever its name.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import UserError
from .annotations import mismatch, shortened

CANONICAL = "src"
"""Name of the package in configurations."""

_ROOT = __name__.partition(".")[0]
_SPECIAL = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")


class SettingsError(UserError):
    """Raised if a node does not fit its target.

    A constructor that refuses a value with its own message raises UserError.
    """


def build(node: Any, name: str = "", **arguments: Any) -> Any:
    """Build the object that ``node`` describes, nested nodes first.

    Args:
        node: plain containers. A mapping with ``_target_`` becomes a call of the target with the other entries as
            arguments; with ``_partial_: true`` it becomes a ``functools.partial``. Other values stay unchanged.
        name: full key of the node, for error messages.
        arguments: further arguments of the outermost target; they replace entries of the same name.

    Raises:
        SettingsError: the target does not exist, has no such setting, lacks one, or refuses a value without a reason.
    """
    if isinstance(node, Mapping):
        children = {
            key: value if key in _SPECIAL and key != "_args_" else build(value, f"{name}.{key}" if name else str(key))
            for key, value in node.items()
        }
        return _call(children, name, arguments) if "_target_" in children else children
    if isinstance(node, list | tuple):
        return [build(value, f"{name}[{i}]") for i, value in enumerate(node)]
    return node


def located(target: str) -> Any:
    """Return the object that ``target`` names.

    Args:
        target: dotted path; a leading ``src`` stands for this package.

    Raises:
        SettingsError: there is no such object.
    """
    parts = target.split(".")
    if parts[0] == CANONICAL:
        parts[0] = _ROOT
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # A missing dependency of an existing module is not a wrong name.
            if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
                raise SettingsError(f"{target} needs the package {error.name}: install it") from error
            continue
        try:
            for part in parts[end:]:
                found = getattr(found, part)
        except AttributeError:
            break
        return found
    raise SettingsError(f"there is no {target}{nearest(parts[-1], _neighbors(parts))}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``, did you mean ...?`` if a valid name is close to ``name``, an empty string otherwise."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else ""


def _neighbors(parts: list[str]) -> list[str]:
    try:
        return [name for name in vars(importlib.import_module(".".join(parts[:-1]))) if not name.startswith("_")]
    except (ImportError, ValueError):
        return []


def _call(node: dict[Any, Any], name: str, arguments: Mapping[str, Any]) -> Any:
    where = name or "the configuration"
    target = node["_target_"]
    if not isinstance(target, str):
        raise SettingsError(f"{where}: _target_={target!r} is not the name of a class or function")
    try:
        function = located(target)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None
    if not callable(function):
        raise SettingsError(f"{where}: {target} is neither a class nor a function")
    positional = node.get("_args_", [])
    settings = {str(key): value for key, value in node.items() if key not in _SPECIAL} | dict(arguments)
    is_partial = settings.pop("_partial_", node.get("_partial_", False))
    check_arguments(function, settings, where, positional, complete=not is_partial)
    if is_partial:
        return partial(function, *positional, **settings)
    try:
        return function(*positional, **settings)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, ImportError, MemoryError) as error:
        # Most often a value of the wrong type, such as a word for a number.
        reason = " ".join(str(error).split())
        if re.search("overflow|allocate|storage size", reason, re.IGNORECASE):
            raise SettingsError(
                f"{where}{_largest(settings)} does not fit into memory: give a smaller value"
            ) from error
        raise SettingsError(f"{where}: {target} does not take these settings ({reason})") from error


def parameters_of(function: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters by name of a class or function, and whether it accepts others.

    A constructor that passes ``**settings`` to its base class has the parameters of the base class as well.

    Raises:
        ValueError, TypeError: the function has no signature, like some functions written in C.
    """
    known: dict[str, inspect.Parameter] = {}
    for part in inspect.getmro(function) if inspect.isclass(function) else (function,):
        parameters = inspect.signature(part).parameters
        known = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD} | known
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return known, False
    return known, True


def check_arguments(
    function: Any,
    settings: Mapping[str, Any],
    where: str,
    positional: Sequence[Any] = (),
    complete: bool = False,
) -> None:
    """Compare settings with the parameters of the function or class that they are for.

    Args:
        function: a class or function.
        settings: by name; keys of this module, such as ``_target_``, are ignored.
        where: full key of the node, for messages.
        positional: arguments without names.
        complete: whether all required parameters of ``function`` must be given.

    Raises:
        SettingsError: a setting is unknown or missing, or its value has the wrong type.
    """
    settings = {key: value for key, value in settings.items() if key not in _SPECIAL}
    try:
        known, others = parameters_of(function)
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return
    for key in settings:
        if key not in known and not others:
            raise SettingsError(f"{where} has no setting {key}{nearest(key, known)}")
    found = mismatch(function, settings)
    if found is not None:
        key, value, wanted = found
        raise SettingsError(f"{where}.{key}={shortened(value)}: {wanted}")
    try:
        (signature.bind if complete else signature.bind_partial)(*positional, **settings)
    except TypeError as error:
        raise SettingsError(f"{where}: {error}") from None


def _largest(settings: Mapping[str, Any]) -> str:
    """Name the setting with the largest whole number, alone or in a list; empty if there is none."""
    sizes = {
        key: max(
            (size for size in (value if isinstance(value, list | tuple) else [value]) if type(size) is int), default=0
        )
        for key, value in settings.items()
    }
    name = max(sizes, key=lambda key: sizes[key], default="")
    return f".{name}={settings[name]}" if name and sizes[name] > 0 else ""
