"""Build objects from the configuration, including values that depend on the data."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ..build import build, located, parameters_of
from ..errors import UserError

_SWITCH = (bool, bool | None, "bool", "bool | None")


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Build the objects of a configuration node with resolved interpolations; return None for None.

    Raises:
        UserError: a setting is unknown, missing or of the wrong type; a switch is neither true nor false.
    """
    name = ""
    if OmegaConf.is_config(node):
        name = node._get_full_key(None) or ""
        check_switches(node)
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return build(node, name, **kwargs)


def check_switches(node: Any) -> None:
    """Check the values of switches in ``node`` against the annotations of the classes that it builds.

    Raises:
        UserError: a value other than true, false or null.
    """
    if not isinstance(node, Mapping):
        return
    switches = _switches(str(node["_target_"])) if "_target_" in node else frozenset()
    for key in node:
        if isinstance(node, DictConfig) and OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if str(key) in switches and not isinstance(value, bool | None):
            name = node._get_full_key(key) if isinstance(node, DictConfig) else key
            raise UserError(f"{name}={value}: give true or false")
        check_switches(value)


@functools.cache
def _switches(target: str) -> frozenset[str]:
    """Return the parameters of ``target`` that are switches."""
    try:
        parameters, _ = parameters_of(located(target))
    except (UserError, ValueError, TypeError):
        # Whether the target exists is checked when it is built.
        return frozenset()
    return frozenset(name for name, p in parameters.items() if p.annotation in _SWITCH)


def instantiate_all(nodes: DictConfig | None) -> list[Any]:
    """Build the objects of a mapping from name to node, in its order.

    Names set to null are skipped, and so are settings of an experiment for something that was not chosen.
    """
    return [instantiate(node) for node in (nodes or {}).values() if node is not None and "_target_" in node]


def needs_data(cfg: DictConfig) -> bool:
    """Return whether the SDE's prior mean is taken from the data."""
    return bool(cfg.sde.get("prior_mean") == "data")


def fill_in_from_data(cfg: DictConfig, datamodule: Any) -> None:
    """Write values that depend on the data into ``cfg``: class names, depth and range of the values.

    ``sde.prior_mean: data`` becomes the channel means of the training images, in their own range.
    """
    with open_dict(cfg.datamodule):
        cfg.datamodule.update(datamodule.settings_from_data())
    if needs_data(cfg):
        datamodule.prepare_data()
        datamodule.setup("fit")
        cfg.sde.prior_mean = [float(mean) for mean in datamodule.channel_mean]


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain containers."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
