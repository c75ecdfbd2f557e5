"""From configuration to objects, with what only the data can tell."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ..errors import UserError

_SWITCH = (bool, bool | None, "bool", "bool | None")


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Hydra's instantiate with plain containers instead of OmegaConf's.

    Raises:
        UserError: a word stands where a switch is, which Python would take for true.
    """
    check_switches(node)
    return hydra.utils.instantiate(node, _convert_="all", **kwargs)


def check_switches(node: Any) -> None:
    """Compare what the nodes in ``node`` set with the annotations of what they build, as far as those are switches.

    Raises:
        UserError: something else than true, false or null.
    """
    if not isinstance(node, Mapping):
        return
    switches = _switches(str(node["_target_"])) if "_target_" in node else None
    for key in node:
        if isinstance(node, DictConfig) and OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if switches and switches(str(key)) and not isinstance(value, bool | None):
            name = node._get_full_key(key) if isinstance(node, DictConfig) else key
            raise UserError(f"{name}={value}: give true or false")
        check_switches(value)


@functools.cache
def _switches(target: str) -> Callable[[str], bool] | None:
    """Whether an argument of ``target``, by its name, is true or false; None where that is not known."""
    try:
        found = get_object(target)
        known: dict[str, bool] = {}
        # What a class does not name is for one that it is derived from.
        for part in inspect.getmro(found) if inspect.isclass(found) else (found,):
            parameters = inspect.signature(part).parameters
            known = {name: p.annotation in _SWITCH for name, p in parameters.items()} | known
            rest = [p for p in parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
            if not rest or rest[0].annotation in _SWITCH:
                break
    except (ImportError, ValueError, TypeError):
        # Not to be had, which is for Hydra to say, or without a signature.
        return None
    others = bool(rest) and rest[0].annotation in _SWITCH
    return lambda key: not key.startswith("_") and known.get(key, others)


def instantiate_all(nodes: DictConfig | None) -> list[Any]:
    """The objects of a mapping from name to node, in its order.

    Left out are names set to null, and settings that an experiment has for something that was not chosen.
    """
    return [instantiate(node) for node in (nodes or {}).values() if node is not None and "_target_" in node]


def needs_data(cfg: DictConfig) -> bool:
    """Whether the SDE's prior mean is to be taken from the data."""
    return bool(cfg.sde.get("prior_mean") == "data")


def fill_in_from_data(cfg: DictConfig, datamodule: Any) -> None:
    """Replace ``sde.prior_mean: data`` by the channel means of the training images, in their own range."""
    if needs_data(cfg):
        datamodule.prepare_data()
        datamodule.setup("fit")
        cfg.sde.prior_mean = [float(mean) for mean in datamodule.channel_mean]


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, everything resolved."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` so that the file is complete or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
