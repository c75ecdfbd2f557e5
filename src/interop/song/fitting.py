"""The experiments whose net fits weights that contain no configuration.

Composing an experiment with Hydra takes 0.15 s. Weights of the original's nets depend on three groups only, so their
files are merged here directly; ``tests/conf/test_experiments.py`` compares the nets with those of Hydra.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from ...checkpoint.read import is_tensor
from ...config.location import CONFIG_DIR
from ...errors import UserError
from .checkpoint import PREFIX, architecture
from .names import song_weights

_GROUPS = ("datamodule", "net", "model")
_OVERRIDE = "override /"

Shapes = dict[str, tuple[int, ...]]


def experiments() -> list[str]:
    """Names of the files in ``conf/experiment``."""
    folder = CONFIG_DIR / "experiment"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def fitting_experiments(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the experiments whose net has the tensor names and shapes of the original's ``state``."""
    if not all(isinstance(name, str) and is_tensor(tensor) for name, tensor in state.items()):
        return []
    there = {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in state.items()}
    there.pop("sigmas", None)
    nets = {name: net for name in experiments() if (net := net_of(name)) is not None}
    distinct = {str(net): net for net in nets.values()}
    fitting = {text for text, net in distinct.items() if _shapes(net) == there}
    return [name for name, net in nets.items() if str(net) in fitting]


def net_of(experiment: str) -> dict[str, Any] | None:
    """Return the configuration of an experiment's net; None if no net is chosen, or if it depends on the data."""
    contents = list(_with_bases("experiment", experiment))
    choices = _choices(_file(CONFIG_DIR / "train.yaml"), "")
    for content in contents:
        choices |= _choices(content, _OVERRIDE)
    if choices["net"] == "None":
        return None
    groups = {group: OmegaConf.merge(*_with_bases(group, choices[group])) for group in _GROUPS}
    try:
        net = OmegaConf.select(OmegaConf.merge(groups, *contents), "model.net")
        found = OmegaConf.to_container(net, resolve=True) if OmegaConf.is_dict(net) else None
    except OmegaConfBaseException:
        return None
    return {str(key): value for key, value in found.items() if key != "defaults"} if isinstance(found, dict) else None


def _shapes(net: dict[str, Any]) -> Shapes:
    """Return names and shapes of the original's weights, none if ``net`` is not one of the original's."""
    try:
        return {weight.theirs: tuple(weight.shape) for weight in song_weights(architecture({"model": {"net": net}}))}
    except UserError:
        return {}


def _with_bases(group: str, name: str) -> Iterator[DictConfig]:
    """Yield the files that a file of a group starts from, then the file."""
    content = _file(CONFIG_DIR / group / f"{name}.yaml")
    for default in content.get("defaults", []):
        if isinstance(default, str) and default != "_self_":
            yield from _with_bases(group, default)
    yield content


def _choices(content: DictConfig, prefix: str) -> dict[str, str]:
    """Return the groups that a list of defaults chooses, with the names of their files."""
    pairs = [pair for default in content.get("defaults", []) if OmegaConf.is_dict(default) for pair in default.items()]
    return {str(key).removeprefix(prefix): str(value) for key, value in pairs if str(key).startswith(prefix)}


@functools.cache
def _file(path: Path) -> DictConfig:
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    return content
