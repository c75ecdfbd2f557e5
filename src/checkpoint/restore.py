"""Build objects from the configuration inside a checkpoint, which can only name classes of this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..config.build import CANONICAL, SettingsError, build, located
from ..errors import UserError, some
from ..image_shape import configured_shape
from ..sde import ScoreModel
from ..sde.noisy_classifier import NoisyClassifier
from .read import NET_PREFIX
from .weights import parse_weights

_LISTED = 4


def restore_model(checkpoint: Mapping[str, Any], weights: str = "ema") -> ScoreModel:
    """Restore the score model of a checkpoint, on the CPU in evaluation mode.

    Args:
        checkpoint: from ``read_checkpoint``.
        weights: ``ema``, the first average; ``ema:<name>``, another average; ``raw``, the weights of the optimizer.

    Raises:
        UserError: if the configuration names anything outside the project, weights and net do not fit, or the net reads
            labels without declaring its classes.
    """
    model: ScoreModel = _built(checkpoint, weights, ScoreModel, "a ScoreModel")
    datamodule = checkpoint["config"].get("datamodule")
    if isinstance(datamodule, Mapping) and (shape := configured_shape(datamodule)) is not None:
        model.check_labels(shape)
    return model


def restore_classifier(checkpoint: Mapping[str, Any], weights: str = "ema") -> NoisyClassifier:
    """Restore the noise-conditional classifier of a checkpoint, like ``restore_model``."""
    model: NoisyClassifier = _built(checkpoint, weights, NoisyClassifier, "a classifier")
    return model


def check_restorable(checkpoint: Mapping[str, Any]) -> None:
    """Raise UserError unless all weights of a checkpoint fit the model of its configuration; takes no memory."""
    with torch.device("meta"):
        described = instantiate_node(checkpoint["config"]["model"])
    if not isinstance(described, nn.Module):
        raise UserError(f"the checkpoint's model is a {type(described).__name__}, not a model: give another one")
    only = checkpoint.get("only_weights")
    raw = ["raw"] if only in (None, "raw") else []
    for weights in [*raw, *(f"ema:{name}" for name in checkpoint.get("ema") or {})]:
        misfit = misfit_of(_weights(checkpoint, weights), described.state_dict())
    if misfit:
        raise UserError(f"the weights do not fit the net of the checkpoint's configuration, {misfit}")


def instantiate_node(node: Mapping[str, Any]) -> Any:
    """Build the object that a configuration node of a checkpoint describes, including nested nodes.

    Args:
        node: plain containers with ``_target_``, such as ``checkpoint["config"]["sampler"]``.

    Raises:
        UserError: if any ``_target_`` is not a class of this project, or the object refuses its arguments.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError("the checkpoint's configuration has no _target_ where an object is described: train again")
    check_node(node)
    try:
        return build(node)
    except SettingsError as error:
        raise UserError(
            f"{node['_target_']} cannot be built from the checkpoint's configuration ({error}): "
            "use the version of the project that wrote the checkpoint"
        ) from None


def check_node(node: Any) -> None:
    """Refuse a configuration that refers to anything except classes of this project, at any depth.

    Every ``_target_`` must be a public class that a module of this project defines, not one that it imports.
    Interpolations are refused because their resolvers are code as well.

    Raises:
        UserError: naming the first forbidden value.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                _check_target(value)
            else:
                check_node(value)
    elif isinstance(node, list | tuple):
        for value in node:
            check_node(value)
    elif isinstance(node, str) and "${" in node:
        raise UserError(f"the checkpoint's configuration contains the unresolved value {node!r} and is not loaded")


def _check_target(target: Any) -> None:
    refusal = UserError(
        f"the checkpoint's configuration names {target!r}, which is not a class of this project, and is not loaded"
    )
    if not isinstance(target, str):
        raise refusal
    parts = target.split(".")
    if parts[0] != CANONICAL or len(parts) < 3 or not all(part.isidentifier() and part[0] != "_" for part in parts):
        raise refusal
    try:
        found = located(target)
    except UserError as error:
        raise UserError(
            f"the checkpoint needs {target}, which this version of the project does not have: "
            "use the version that wrote it"
        ) from error
    if not isinstance(found, type) or not found.__module__.startswith(f"{__package__.partition('.')[0]}."):
        raise refusal


def _built(checkpoint: Mapping[str, Any], weights: str, kind: type[nn.Module], name: str) -> Any:
    """Build the model of a checkpoint and load its weights.

    The model is built without memory first, because a file may describe a net of any size.
    """
    with torch.device("meta"):
        described = instantiate_node(checkpoint["config"]["model"])
    if not isinstance(described, kind):
        raise UserError(f"the checkpoint's model is a {type(described).__name__}, not {name}: give another one")
    misfit = misfit_of(_weights(checkpoint, weights), described.state_dict())
    if misfit:
        raise UserError(f"the weights do not fit the net of the checkpoint's configuration, {misfit}")
    # The initial weights are discarded; do not change the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = instantiate_node(checkpoint["config"]["model"])
    state = _weights(checkpoint, weights)
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise UserError(
            f"the weights of the checkpoint are not finite ({some(broken, _LISTED)}): give an earlier checkpoint"
        )
    model.load_state_dict(state)
    return model.eval()


def _weights(checkpoint: Mapping[str, Any], weights: str) -> dict[str, Tensor]:
    """Return the weights under the names of the score model's ``state_dict``."""
    root = NET_PREFIX.split(".")[0] + "."
    state = {
        name.removeprefix(root): value for name, value in checkpoint["state_dict"].items() if name.startswith(root)
    }
    averages = checkpoint.get("ema") or {}
    name = parse_weights(weights).average(list(averages))
    only = checkpoint.get("only_weights")
    if name is None and only not in (None, "raw"):
        raise UserError(f"weights={weights}: this export contains only the average {only}: choose weights=ema")
    if name is None:
        return state
    # Buffers are not averaged and come from the raw weights.
    return state | {NET_PREFIX.removeprefix(root) + key: value for key, value in averages[name].items()}


def misfit_of(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say why the tensors of a file do not fit a ``state_dict``: names, kinds, shapes. Empty if they fit."""
    problems = [
        ("missing", [name for name in expected if name not in state]),
        ("unexpected", [name for name in state if name not in expected]),
        (
            "of another kind",
            [
                f"{name} {state[name].dtype} instead of {value.dtype}"
                for name, value in expected.items()
                if name in state and state[name].is_floating_point() != value.is_floating_point()
            ],
        ),
        (
            "of another shape",
            [
                f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
                for name, value in expected.items()
                if name in state and state[name].shape != value.shape
            ],
        ),
    ]
    return "; ".join(f"{kind}: {some(names, _LISTED)}" for kind, names in problems if names)
