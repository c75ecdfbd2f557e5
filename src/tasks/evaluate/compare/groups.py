"""Which trainings are compared, and how they are grouped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ....checkpoint.find import find_runs, run_of
from ....checkpoint.read import peek_checkpoint
from ....errors import UserError

_NODES = (
    *("datamodule", "net", "sde", "parametrization", "objective", "optimizer", "scheduler", "ema", "sampler"),
    *("trainer.max_steps", "trainer.precision", "trainer.gradient_clip_val", "trainer.accumulate_grad_batches"),
)
"""Settings that must agree within a group; seeds, paths, devices, loggers and callbacks may differ."""

_MAY_DIFFER = ("seed", "num_workers", "data_dir", "cache_dir", "pin_memory", "on_device", "eval_batch_size")

_ASK = (
    "give folders of runs: groups=[logs/digits/sweep_a,logs/digits/sweep_b], a name for each: "
    "'groups={a: folder, b: [run, run]}', or one folder, which is split by the settings of its runs"
)


@dataclass(frozen=True)
class Group:
    """Trainings of one setting.

    Attributes:
        name: name of the group in tables and pictures.
        paths: the newest checkpoint of each training.
    """

    name: str
    paths: tuple[Path, ...]


def find_groups(given: Any) -> tuple[Group, ...]:
    """The groups that ``groups=...`` names.

    Args:
        given: a folder of runs, which is split by the settings of its runs; a list of folders, one per group; or a
            mapping from names to a folder or a list of folders. A run folder or a checkpoint is a single training.

    Raises:
        UserError: there are no such runs, or a training is named twice.
    """
    value = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    if isinstance(value, str):
        groups = _split(find_runs(value))
    elif isinstance(value, list) and value and all(isinstance(folder, str) for folder in value):
        groups = [Group(name, tuple(find_runs(folder))) for name, folder in zip(_names(value), value, strict=True)]
    elif isinstance(value, Mapping) and value:
        groups = [Group(str(name), tuple(_members(name, folders))) for name, folders in value.items()]
    else:
        raise UserError(f"groups={value}: {_ASK}")
    owners: dict[str, str] = {}
    for group in groups:
        for path in group.paths:
            if (real := os.path.realpath(path)) in owners:
                raise UserError(f"{path} is in {owners[real]} and in {group.name}: name every training once")
            owners[real] = group.name
    return tuple(groups)


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings, other than seeds, in which trainings differ."""
    flat = [_settings(config) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    return [key for key in keys if any(settings.get(key) != flat[0].get(key) for settings in flat)]


def by_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Split trainings by their settings; seeds do not count.

    Returns:
        The places of the trainings of each setting, by the values in which settings differ; ``all`` if there is one.
    """
    keys = differing_settings(configs)
    found: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        settings = _settings(config)
        found.setdefault(" ".join(f"{key}={settings.get(key)}" for key in keys) or "all", []).append(i)
    return found


def training_name(path: Path) -> str:
    """A short name of a checkpoint's run."""
    return (run_of(path) or path.with_suffix("")).name


def _members(name: Any, folders: Any) -> list[Path]:
    listed = folders if isinstance(folders, list) else [folders]
    if not listed or not all(isinstance(folder, str) for folder in listed):
        raise UserError(f"groups: {name} is {folders}: {_ASK}")
    return [path for folder in listed for path in find_runs(folder)]


def _names(folders: Sequence[str]) -> list[str]:
    """The last parts of the folders' paths, as many as needed to distinguish them."""
    parts = [Path(os.path.realpath(Path(folder).expanduser())).parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"groups={list(folders)}: a folder is named twice")


def _split(paths: Sequence[Path]) -> list[Group]:
    configs = [peek_checkpoint(path).get("config", {}) for path in paths]
    return [Group(name, tuple(paths[i] for i in members)) for name, members in by_settings(configs).items()]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _NODES:
        node: Any = config
        for part in name.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        _flatten(node, name, found)
    return found


def _flatten(node: Any, name: str, found: dict[str, Any]) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in _MAY_DIFFER:
                _flatten(value, f"{name}.{key}", found)
    else:
        found[name] = node
