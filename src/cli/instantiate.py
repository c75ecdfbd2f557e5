"""Build objects from the configuration, including values that depend on the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from ..config.build import build, check_arguments, located
from ..errors import UserError


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Build the objects of a configuration node with resolved interpolations; return None for None.

    Raises:
        UserError: a setting is unknown, missing or of the wrong kind.
    """
    name = ""
    if OmegaConf.is_config(node):
        # OmegaConf has no public name for it; Hydra calls it too.
        name = node._get_full_key(None) or ""
        check_settings(node, name)
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return build(node, name, **kwargs)


def check_settings(node: Any, name: str = "") -> None:
    """Compare the settings of all nodes in ``node`` with the parameters of the classes that they build.

    Interpolated values are ignored: they are checked where they come from.

    Args:
        node: a configuration node or plain containers.
        name: its full key.

    Raises:
        UserError: an unknown setting, a word for a number, a number for a switch, a list that is too short.
    """
    if not isinstance(node, Mapping):
        return
    values: dict[str, Any] = {}
    for key in node:
        if isinstance(node, DictConfig) and (OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)):
            continue
        value = node[key]
        check_settings(value, f"{name}.{key}")
        # When the parameter receives a node, it is an object.
        if not (isinstance(value, Mapping) and "_target_" in value):
            try:
                values[str(key)] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            except InterpolationResolutionError:
                # A group that this run does not use may refer to missing settings.
                continue
    if "_target_" in values:
        try:
            target = located(str(values["_target_"]))
        except UserError:
            # Whether the target exists is checked when it is built.
            return
        check_arguments(target, values, name)


def instantiate_all(nodes: DictConfig | None) -> list[Any]:
    """Build the objects of a mapping from name to node, in its order.

    Names set to null are skipped, and so are an experiment's settings for a part that was not chosen.
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
