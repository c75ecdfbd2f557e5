"""Values of the wrong kind, such as a word for a number, refused under the name that they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import UserError

_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}


def check_kinds(cfg: DictConfig, defaults: str | Path) -> None:
    """A switch must stay a switch and a number a number, for all settings outside of groups.

    Args:
        cfg: the composed configuration.
        defaults: the file that begins it.

    Raises:
        UserError: a value of another kind than that of ``defaults``.
    """
    for key, default in OmegaConf.load(defaults).items():
        accepted, name = _KINDS.get(type(default), ((), ""))
        if accepted and key in cfg and not _is_a(cfg[key], accepted):
            raise UserError(f"{key!s}={cfg[key]}: give {name}, as {str(default).lower()}")


def name_as_text(cfg: DictConfig) -> None:
    """A name may look like a number: ``name=2024``."""
    if isinstance(cfg.get("name"), int | float):
        cfg.name = str(cfg.name)


def check_whole(name: str, value: Any, least: int) -> None:
    """UserError unless ``value`` is a whole number of at least ``least``."""
    if not _is_a(value, (int,)) or value < least:
        raise UserError(f"{name}={value}: give a whole number of at least {least}")


def listed(value: Any) -> list[Any]:
    """A list of settings, of one if only one is given."""
    return list(value) if OmegaConf.is_list(value) or isinstance(value, list | tuple) else [value]


def _is_a(value: Any, accepted: tuple[type, ...]) -> bool:
    return isinstance(value, accepted) and (not isinstance(value, bool) or bool in accepted)
