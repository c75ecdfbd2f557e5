"""Check the annotations of the package while tests run, without checking the same call twice.

jaxtyping and beartype take about 0.1 ms for a call, which is longer than most functions of a sampler. A call is checked
only if the test has not yet called the function with arguments of these types, dtypes and shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable
from importlib.machinery import SourceFileLoader
from typing import Any

import jaxtyping
import numpy as np
from jaxtyping import _import_hook, install_import_hook
from torch import Tensor

_Key = tuple[str, str, object]
_LONGEST = 16
_DEEPEST = 3

_checked_calls: dict[_Key, set[Hashable]] = {}


def install(package: str) -> Any:
    """Check all functions of ``package`` that are imported from now on; return the hook, which has ``uninstall``."""
    _keep_bytecode_apart()
    # The hook writes `@jaxtyping.jaxtyped(typechecker=...)` above every function.
    jaxtyping.jaxtyped = _decorator(jaxtyping.jaxtyped)
    return install_import_hook(package, f"{__name__}.check")


def _keep_bytecode_apart() -> None:
    """Store rewritten code in files of its own, wherever it is loaded.

    While a module runs, jaxtyping also renames the bytecode files of the libraries that the module imports, so they are
    compiled again in every process; what `runpy` loads gets the name that commands of this checkout use.
    """

    def own(path: str) -> str:
        return f"{path[:-4]}-jaxtyping-{jaxtyping.__version__}.pyc" if path.endswith(".pyc") else path

    def get_data(loader: SourceFileLoader, path: str) -> bytes:
        return SourceFileLoader.get_data(loader, own(path))

    def set_data(loader: SourceFileLoader, path: str, data: Any, *, _mode: int = 0o666) -> None:
        SourceFileLoader.set_data(loader, own(path), data, _mode=_mode)

    loader: Any = _import_hook._JaxtypingLoader
    loader.exec_module, loader.get_data, loader.set_data = SourceFileLoader.exec_module, get_data, set_data


def forget_calls() -> None:
    """Check all calls again; called before every test."""
    for calls in _checked_calls.values():
        calls.clear()


def check(function: Any) -> Any:
    """Return ``function`` with checks of arguments and results."""
    return _beartype()(function)


@functools.cache
def _beartype() -> Callable[[Any], Any]:
    # Imported here: an environment that checks nothing may lack beartype.
    from beartype import BeartypeConf, beartype

    # An int is accepted where a float is expected, as type checkers do.
    return beartype(conf=BeartypeConf(is_pep484_tower=True))


def _decorator(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(checked: Any = None, **settings: Any) -> Any:
        if checked is None:
            return functools.partial(decorate, **settings)
        if not inspect.isclass(checked):
            return once_per_call(checked, jaxtyped(**settings))
        if dataclasses.is_dataclass(checked) and "__init__" in vars(checked):
            checked.__init__ = once_per_call(checked.__init__, jaxtyped(**settings))
        return checked

    return decorate


def once_per_call(function: Callable[..., Any], check: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return ``function``, checked by ``check`` if its arguments are of another kind than those before."""
    # A function inside another function is a new object with the same code at every call.
    key = (function.__module__, function.__qualname__, function.__code__)
    calls = _checked_calls.setdefault(key, set())
    checked: Callable[..., Any] | None = None

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        call = (*map(kind, args), *((name, kind(value)) for name, value in kwargs.items()))
        if call in calls:
            return function(*args, **kwargs)
        nonlocal checked
        if checked is None:
            checked = check(function)
        result = checked(*args, **kwargs)
        calls.add(call)
        return result

    return wrapped


def kind(value: Any, depth: int = _DEEPEST) -> Hashable:
    """Return what annotations can say about a value, whose containers may contain themselves."""
    if isinstance(value, Tensor | np.ndarray):
        return value.dtype, tuple(value.shape)
    if isinstance(value, str):
        return value  # for Literal
    if isinstance(value, list | tuple) and depth and len(value) <= _LONGEST:
        return type(value), *(kind(item, depth - 1) for item in value)
    if isinstance(value, dict) and depth and len(value) <= _LONGEST:
        return type(value), *((kind(key), kind(item, depth - 1)) for key, item in value.items())
    return type(value)
