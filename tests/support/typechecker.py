"""beartype configured so that an int is accepted where a float is expected, as type checkers do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


def check(checked: Any) -> Any:
    """Return ``checked`` (a function or class) with checks of arguments and results."""
    return _decorator()(checked)


@cache
def _decorator() -> Callable[[Any], Any]:
    # Imported here: an environment that checks nothing may lack beartype.
    from beartype import BeartypeConf, beartype

    return beartype(conf=BeartypeConf(is_pep484_tower=True))
