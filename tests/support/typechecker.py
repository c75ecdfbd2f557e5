"""beartype as type checkers read annotations: an int will do where a float is wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


def check(checked: Any) -> Any:
    """``checked``, a function or a class, with its arguments and results checked."""
    return _decorator()(checked)


@cache
def _decorator() -> Callable[[Any], Any]:
    # Here, because an environment where nothing is checked may lack beartype.
    from beartype import BeartypeConf, beartype

    return beartype(conf=BeartypeConf(is_pep484_tower=True))
