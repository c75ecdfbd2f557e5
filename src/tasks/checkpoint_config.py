"""The configuration inside a checkpoint, and how a command line changes parts of it (see ``arguments``)."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from ..checkpoint.restore import check_node
from ..cli.instantiate import check_settings
from ..config.annotations import is_whole, shortened
from ..config.build import build as build_node
from ..data_range import check_range
from ..errors import UserError
from ..image_shape import configured_shape

_log = logging.getLogger(__name__)

_MOST_NUMBERS = 1 << 30


def node(config: Mapping[str, Any], name: str, changes: DictConfig | None, **others: Any) -> dict[str, Any]:
    """Return a node of a checkpoint's configuration, with the changes of the command line, as plain containers.

    Args:
        config: ``checkpoint["config"]``.
        name: name of the node.
        changes: changes from the command line; None for no changes. Changes with a ``_target_`` replace the node.
        others: other nodes, as changed by the command line, that ``changes`` may refer to.

    Raises:
        UserError: the node does not exist, it refers to a missing node, or it names code outside this project.
    """
    found = config.get(name)
    if changes is not None and not isinstance(changes, DictConfig):
        raise UserError(f"{name}={changes}: choose a file of conf/{name}, or change its settings one by one")
    if changes is not None:
        raw: Any = OmegaConf.to_container(changes, resolve=False)
        # A file of conf/ may refer to other nodes of the training configuration; the checkpoint holds them.
        around = OmegaConf.create(
            {**config, **others, name: raw if "_target_" in raw else OmegaConf.merge(found or {}, raw)}
        )
        try:
            found = OmegaConf.to_container(around[name], resolve=True)
        except InterpolationKeyError as error:
            key = re.findall(r"'(.+?)'", str(error))[0]
            raise UserError(
                f"{name} refers to {key}, which is missing: choose it with {key.split('.')[0]}=..."
            ) from error
    if not isinstance(found, dict) or "_target_" not in found:
        raise UserError(f"the checkpoint has no {name}: choose one with {name}=<a file of conf/{name}>")
    check_node(found)
    return {str(key): value for key, value in found.items()}


def data_node(config: Mapping[str, Any], changes: DictConfig | None) -> dict[str, Any]:
    """Return the datamodule's node, see ``node``, with the model's data range, whatever the data's own range is."""
    made = node(config, "datamodule", changes)
    of_model = config.get("model", {}).get("data_range")
    if of_model is not None and made.get("data_range", of_model) != of_model:
        check_range(str(made["data_range"]), "datamodule.data_range")
        _log.info("using the model's data_range=%s; data_range=%s is ignored", of_model, made["data_range"])
        made["data_range"] = of_model
    return made


def data_name(datamodule: Mapping[str, Any]) -> str:
    """A short name of the data, such as ``CIFAR10`` or the name of a folder."""
    kind = str(datamodule["_target_"]).rpartition(".")[2].removesuffix("DataModule").lower()
    return str(datamodule.get("dataset") or (Path(datamodule["path"]).name if "path" in datamodule else kind))


def build(name: str, described: Mapping[str, Any]) -> Any:
    """Build the object that a node describes; error messages name the node."""
    check_settings(described, name)
    return build_node(dict(described), name)


def sample_shape(datamodule: Mapping[str, Any]) -> tuple[int, ...]:
    """(C, H, W) of the images or (d,) of the vectors that a datamodule's node describes."""
    if (shape := configured_shape(datamodule)) is None:
        raise UserError("the checkpoint's datamodule has neither channels and image_size nor dim: train again")
    return _possible(shape)


def _possible(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return ``shape``; raise UserError if a length is not a whole number >= 1 or the product is too large."""
    if not all(is_whole(length) and length >= 1 for length in shape) or math.prod(shape) > _MOST_NUMBERS:
        raise UserError(
            f"the datamodule describes samples of shape {shortened(list(shape))}: give whole numbers >= 1 whose "
            f"product is at most {_MOST_NUMBERS:,}"
        )
    return shape
