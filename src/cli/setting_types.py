"""Refuse values of the wrong type, such as a word for a number, under the name that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config.annotations import shortened
from ..errors import UserError

_LARGEST = 2**63
_SECTIONS = ("groups",)
_NAMES = ("name", "trained_as")
_SINGLE = (
    *(*_NAMES, "original_config", "init_from", "images", "output_dir", "distance"),
    *("every", "limit", "given_count"),
)
_LISTS_TOO = ("weights", "devices")
_FLOATS = ("ema_length", "claimed")
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), f"a whole number below {_LARGEST}"),
    float: ((int, float), "a finite number"),
    # A name may look like a number.
    str: ((str, int, float), "a text"),
    dict: ((DictConfig,), "its settings one by one"),
}


def check_types(cfg: DictConfig, defaults: str | Path) -> None:
    """Check that each setting outside of groups has the type of its default: true or false, a number, or a section.

    Args:
        cfg: the composed configuration.
        defaults: the command's configuration file.

    Raises:
        UserError: a value has another type than in ``defaults``.
    """
    expected = OmegaConf.to_container(OmegaConf.load(defaults), resolve=False)
    assert isinstance(expected, dict)
    for entry in expected.get("defaults", []):
        group = str(next(iter(entry))) if isinstance(entry, dict) else ""
        node = group.partition("@")[2]
        # Hydra does not know that a configuration was meant for a group under another name.
        if node and not isinstance(value := cfg.get(node), DictConfig | None):
            raise UserError(f"{node}={shortened(value)}: type {group}=<name>, or ~{group} to leave it out")
    _check(cfg, {key: value for key, value in expected.items() if key not in ("defaults", "hydra")})


def _check(cfg: DictConfig, expected: Mapping[Any, Any], prefix: str = "") -> None:
    for key, default in expected.items():
        accepted, name = _KINDS.get(type(default), ((), ""))
        is_interpolated = isinstance(default, str) and "${" in default
        if default is None and key in cfg and _is_odd(key, cfg[key]):
            raise UserError(f"{prefix}{key!s}={shortened(cfg[key])}: give a text or a whole number, or null")
        if not accepted or is_interpolated or key not in cfg or OmegaConf.is_interpolation(cfg, key):
            continue
        value = cfg[key]
        if key in _LISTS_TOO and OmegaConf.is_list(value):
            continue
        if not _is_a(value, accepted):
            example = f"{key}.{next(iter(default))}" if isinstance(default, dict) else str(default).lower()
            if isinstance(default, int) and isinstance(value, float) and abs(value) < _LARGEST:
                # 1e3 is a float in YAML.
                example = str(round(value))
            raise UserError(f"{prefix}{key!s}={shortened(value)}: give {name}, for example {example}")
        if isinstance(default, str) and not isinstance(value, str) and key not in (*_LISTS_TOO, "precision"):
            # A name may look like a number.
            cfg[key] = str(value)
        if isinstance(default, dict):
            _check(value, default, f"{prefix}{key}.")


def _is_odd(key: str, value: Any) -> bool:
    """Whether a value has a type that no setting with the default null accepts."""
    if OmegaConf.is_dict(value):
        return key not in _SECTIONS
    if OmegaConf.is_list(value):
        return key in _SINGLE
    return isinstance(value, bool) or (isinstance(value, float) and key not in _FLOATS)


def names_as_text(cfg: DictConfig) -> None:
    """Convert names that look like numbers to text: ``name=2024``."""
    for key in _NAMES:
        if isinstance(cfg.get(key), int | float):
            cfg[key] = str(cfg[key])


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise UserError unless ``value`` is a whole number of at least ``least``."""
    if not _is_a(value, (int,)) or value < least:
        raise UserError(f"{name}={value!r}: give a whole number of at least {least}")


def listed(value: Any) -> list[Any]:
    """Return a list of settings; a single setting becomes a list of one."""
    return list(value) if OmegaConf.is_list(value) or isinstance(value, list | tuple) else [value]


def _is_a(value: Any, accepted: tuple[type, ...]) -> bool:
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        return False
    return isinstance(value, accepted) and (not isinstance(value, bool) or bool in accepted)
