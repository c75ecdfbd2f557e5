"""One clear line for a mistake of the user, with the nearest valid name where a name is wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from ..config.build import nearest
from ..errors import UserError
from ..runtime.error_lines import chain, flat, of_disk, of_mistake

_GLOO_ERRORS = re.compile("Connection (closed|reset) by peer|Broken pipe|connectFullMesh failed")


def one_line(error: BaseException, config_name: str | None = None) -> str | None:
    """Return the line to show for ``error``, or None if it is a programming error."""
    mistake = of_mistake(error)
    if mistake is not None:
        return mistake
    if lost_peer(error):
        return "another process of this run has ended, see its error; then give the same command again"
    lines = (line(error, config_name) for kind, line in _LINES if isinstance(error, kind))
    return next((line for line in lines if line is not None), None)


def lost_peer(error: BaseException) -> bool:
    """Whether ``error`` means that another process of the group has ended: NCCL has a class for it, gloo a message."""
    return any(
        type(cause).__name__ in ("DistBackendError", "DistNetworkError")
        or (isinstance(cause, RuntimeError) and _GLOO_ERRORS.search(str(cause)))
        for cause in chain(error)
    )


def raised_on_all_ranks(error: BaseException) -> bool:
    """Whether every process of the run raises ``error``."""
    return any(isinstance(cause, UserError) and cause.shared for cause in chain(error))


def _unreadable_argument(error: OverrideParseException, config_name: str | None) -> str:
    argument = flat(str(error.override))
    name, equals, value = argument.partition("=")
    if not equals:
        return f"cannot read the argument {argument!r}: type {name}=<value>"
    if not re.fullmatch(r"[+~]*[\w./@$:-]+", name):
        return f"cannot read the argument {argument!r}: {name!r} is no name of a setting"
    quoted = value.strip("'\"").replace("'", "")
    return (
        f"cannot read the argument {argument!r}: close its brackets and quotes, or give a text in quotes, "
        f"\"{name}='{quoted}'\""
    )


def _missing_value(error: Exception, config_name: str | None) -> str | None:
    missing = re.search(r"Missing mandatory value: (\S+)", str(error))
    return f"{missing.group(1)} is missing: type {missing.group(1)}=<value>" if missing else None


def _unknown_key(error: Exception, config_name: str | None) -> str:
    """Return the line for a setting that does not exist; the library's own text for its other errors."""
    text = " ".join(str(cause) for cause in chain(error))
    if forced := re.search(r"force-add of config groups is not supported: '\++([^=']+)", text):
        return f"{forced[1]} is a group of configurations: type {forced[1]}=<name>"
    if several := re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text):
        name, values = several.groups()
        return f"{name}={values}: add -m to run one job for each value, or give a list as '{name}=[{values}]'"
    found = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if not found or config_name is None:
        return flat(str(error))
    key = found.group(1)
    return f"there is no setting {key}{nearest(key, _known_keys(config_name))}"


def _unknown_choice(error: MissingConfigException, config_name: str | None) -> str | None:
    """Return the line for a name that no file of a group has; files in folders of the group count too."""
    from ..config.location import CONFIG_DIR

    for override in _overrides():
        # Hydra looks for names such as `.` and `/` in other groups.
        if _folder(override).is_dir() and not re.search(r"\w", str(override.value())):
            return f"{override.input_line} names no configuration: {_choices(override)}"
    if not error.options:
        return None

    path = Path(error.missing_cfg_file or "")
    # The folder part of the name, such as `ve/` of `experiment=ve/cifar10`, does not belong to the group.
    group = next((parent for parent in reversed(path.parents) if parent.name), path.parent)
    choice = path.relative_to(group).with_suffix("").as_posix()
    folder = CONFIG_DIR / group
    names = sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    inside = [name for name in names if name.endswith(f"/{choice}")]
    hint = f", did you mean {' or '.join(inside)}?" if inside else nearest(choice, names)
    return f"there is no {group}={choice}{hint}; choose one of {', '.join(names)}"


def _missing_reference(error: InterpolationKeyError, config_name: str | None) -> str:
    """Return the line for a setting that takes a value from another group, whose choice has no such value."""
    found = re.search(r"Interpolation key '([^']+)' not found", str(error))
    name = (error.full_key or "a setting").partition(".")[0]
    if not found:
        return flat(str(error))
    group = found.group(1).partition(".")[0]
    return f"{error.full_key} is {found.group(1)}, which this {group} does not have: choose another {name} or {group}"


def _long_number(error: ValueError, config_name: str | None) -> str | None:
    """Return the line for a number with more digits than Python reads."""
    if not str(error).startswith("Exceeds the limit"):
        return None
    longest = max(sys.argv[1:], key=len)
    return f"{longest[:60]}... has a number with too many digits: give a shorter one"


def _no_choice(error: ValueError | TypeError, config_name: str | None) -> str | None:
    """Return the line for a group that was given something else than a name, null most often."""
    if isinstance(error, ValueError) and not str(error).startswith("Config group override must be"):
        return None
    for override in _overrides():
        value = override.value()
        names = value if isinstance(value, list) else [value]
        if _folder(override).is_dir() and not all(isinstance(name, str) for name in names):
            return f"{override.input_line}: {_choices(override)}"
    return None


def _known_keys(config_name: str) -> list[str]:
    """Return all keys of the configuration with the group choices of this command line."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from ..config.location import CONFIG_DIR

    try:
        choices = [o.input_line for o in _overrides() if not o.is_sweep_override() and _folder(o).is_dir()]
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose(config_name, overrides=[c for c in choices if c])
    except HydraException:
        return []
    return list(_paths(cfg))


def _overrides() -> list[Override]:
    """Return the settings of this command line."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    arguments = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    return list(OverridesParser.create().parse_overrides(arguments))


def _folder(override: Override) -> Path:
    from ..config.location import CONFIG_DIR

    return CONFIG_DIR / override.key_or_group


def _choices(override: Override) -> str:
    names = ", ".join(sorted(path.stem for path in _folder(override).glob("*.yaml")))
    return f"choose one of {names}, or leave it out with ~{override.key_or_group}"


def _paths(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    stack = [(prefix, raw)]
    while stack:
        path, node = stack.pop()
        if path:
            yield path
        if isinstance(node, dict):
            stack += [(f"{path}.{key}" if path else str(key), value) for key, value in node.items()]


_LINES: tuple[tuple[type[BaseException], Callable[[Any, str | None], str | None]], ...] = (
    (MissingConfigException, _unknown_choice),
    (OverrideParseException, _unreadable_argument),
    (ValueError, _long_number),
    (ValueError, _no_choice),
    (TypeError, _no_choice),
    (Exception, _missing_value),
    (InterpolationKeyError, _missing_reference),
    (HydraException, _unknown_key),
    (OmegaConfBaseException, _unknown_key),
    (OSError, lambda error, config_name: of_disk(error)),
)
"""Lines for errors of other libraries; the first that is not None counts."""
