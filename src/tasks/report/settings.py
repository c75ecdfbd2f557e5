"""Which settings of a run differ from the default configuration, and between runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...interop.song.experiments import composed

ABSENT = "—"

_LEFT_OUT = ("module", "paths", "ckpt_path", "hydra")


def differences_from_default(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return setting, default value and the run's value for every setting that differs from the default."""
    here, default = flat_settings(config), _default_settings()
    return [(key, default.get(key, ABSENT), value) for key, value in here.items() if default.get(key) != value]


@functools.cache
def _default_settings() -> dict[str, str]:
    return flat_settings(composed([]))


def differing(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the settings that differ between configurations, with the value in each."""
    flats = [flat_settings(config) for config in configs]
    keys = dict.fromkeys(key for found in flats for key in found)
    rows = [(key, [found.get(key, ABSENT) for found in flats]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def flat_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return every setting as text, by its dotted key.

    A node that repeats a group, as ``model.net`` repeats ``net``, is one setting: ``${net}``. Paths in the run's folder
    start with ``${paths.run_dir}``.
    """
    paths = config.get("paths")
    run_dir = str(paths.get("run_dir") or "") if isinstance(paths, Mapping) else ""
    groups = {key: node for key, node in config.items() if isinstance(node, Mapping) and key not in _LEFT_OUT}
    found: dict[str, str] = {}

    def visit(key: str, node: Any) -> None:
        group = next((name for name, other in groups.items() if name != key and node == other), None)
        if isinstance(node, Mapping) and group is not None and "." in key:
            found[key] = f"${{{group}}}"
        elif isinstance(node, Mapping) and node:
            for name, child in node.items():
                visit(f"{key}.{name}", child)
        else:
            text = node if isinstance(node, str) else json.dumps(node, default=str)
            inside = run_dir and text.startswith(f"{run_dir}/")
            found[key] = "${paths.run_dir}" + text.removeprefix(run_dir) if inside else text

    for key, node in config.items():
        if key not in _LEFT_OUT:
            visit(str(key), node)
    return found
