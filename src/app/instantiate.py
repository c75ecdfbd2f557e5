"""From configuration to objects, with what only the data can tell."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Hydra's instantiate with plain containers instead of OmegaConf's."""
    return hydra.utils.instantiate(node, _convert_="all", **kwargs)


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
