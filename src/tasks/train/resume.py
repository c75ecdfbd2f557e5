"""Resume a run: compare its settings with the checkpoint's, refuse some differences and apply the others."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ...checkpoint import OpenCheckpoint
from ...config.build import located, parameters_of
from ...errors import UserError, some

_log = logging.getLogger(__name__)

_ABSENT = "not set"

_OF_THE_MODEL = ("sde", "parametrization", "net", "model", "objective", "datamodule")
"""Nodes that define what is learned; a difference means another model, with these exceptions."""

_HARMLESS_OF_NET = ("dropout", "compile", "channels_last", "checkpoint_activations")
_ESSENTIAL_OF_DATA = (
    "_target_",
    "image_size",
    "channels",
    "num_classes",
    "data_range",
    "dim",
    "kind",
    "value_range",
    "dtype",
    "layout",
    "labels",
    "dequantize",
)

_TRAINING = ("scheduler", "ema", "trainer.precision", "trainer.gradient_clip_val")
"""Training settings that are applied and reported. Paths, devices, loggers, lengths and callbacks are not reported."""


_SEEDS = ("data", "noise", "sample")
"""Random numbers of future steps; the weights come from the checkpoint, whatever ``seed.init`` is."""


@dataclass(frozen=True)
class SettingChange:
    """A setting that differs between a checkpoint and this run."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}={self.now} (the checkpoint has {self.before})"


def compare(opened: OpenCheckpoint, config: Mapping[str, Any]) -> list[SettingChange]:
    """Return the differences to apply, for ``apply_settings``.

    Args:
        opened: the checkpoint to resume from.
        config: the resolved configuration of this run.

    Raises:
        UserError: a difference means another model; the message lists the settings.
    """
    before, now = opened.content["config"], dict(config)
    refused: list[SettingChange] = []
    applied: list[SettingChange] = []
    reported: set[str] = set()
    for name in _OF_THE_MODEL:
        for difference in changes_between(before.get(name), now.get(name), name):
            parts = difference.key.split(".")
            reported.add(difference.key)
            if name == "model" and ".".join(parts[1:]) in reported:
                # A copy of a node above.
                continue
            if difference.key == "datamodule.seed":
                # Reported as seed.data.
                continue
            harmless = (name == "net" and parts[-1] in _HARMLESS_OF_NET) or (
                name == "datamodule" and len(parts) > 1 and parts[1] not in _ESSENTIAL_OF_DATA
            )
            (applied if harmless else refused).append(difference)
    for difference in changes_between(before.get("optimizer"), now.get("optimizer"), "optimizer"):
        (refused if difference.key == "optimizer._target_" else applied).append(difference)
    for name in _TRAINING:
        applied += changes_between(_at(before, name), _at(now, name), name)
    for name in _SEEDS:
        applied += changes_between(seed_of(before, name), seed_of(now, name), f"seed.{name}")
    if refused:
        shown = some(refused)
        raise UserError(
            f"{opened.path} has other settings: {shown}; leave these settings out, or start a new run from its "
            f"weights with init_from={opened.path}"
        )
    return applied


def apply_settings(
    opened: OpenCheckpoint,
    differences: list[SettingChange],
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
) -> OpenCheckpoint:
    """Return the checkpoint with this run's settings in the states of its optimizer and scheduler.

    Args:
        opened: the checkpoint; its states have been checked.
        differences: returned by ``compare``.
        optimizer: optimizer of a fresh run.
        scheduler: scheduler of a fresh run; it is moved to the step of the checkpoint.
    """
    for difference in differences:
        _log.info("changed: %s", difference)
    if not any(difference.key.startswith(("optimizer.", "scheduler")) for difference in differences):
        return opened
    advance(scheduler, opened.step)
    fresh = deepcopy(optimizer.state_dict()["param_groups"])
    content = {
        **opened.content,
        "optimizer_states": [{**opened.content["optimizer_states"][0], "param_groups": fresh}],
        "lr_schedulers": [] if scheduler is None else [scheduler.state_dict()],
    }
    return replace(opened, content=content)


def seed_of(config: Mapping[str, Any], name: str) -> Any:
    """Return the seed ``name``. Older configurations have one seed, and 0 for pictures and scores during training."""
    return config.get("seeds", {}).get(name, 0 if name == "sample" else config.get("seed"))


def advance(scheduler: LRScheduler | None, steps: int) -> None:
    """Move the scheduler of a fresh run, and the learning rate of its optimizer, to the step ``steps``."""
    if scheduler is None:
        return
    with warnings.catch_warnings():
        # The schedule counts steps that the optimizer has taken in another process.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(steps):
            scheduler.step()


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def changes_between(before: Any, now: Any, name: str) -> Iterator[SettingChange]:
    """Compare two nodes of configurations; a missing setting has the default of its class."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        if before.get("_target_") != now.get("_target_"):
            yield SettingChange(f"{name}._target_", before.get("_target_", _ABSENT), now.get("_target_", _ABSENT))
            return
        defaults = _defaults(now.get("_target_"))
        for key in dict.fromkeys([*now, *before]):
            if key not in now and defaults is not None and key not in defaults:
                # A setting of an older version.
                continue
            one, other = (node.get(key, (defaults or {}).get(key, _ABSENT)) for node in (before, now))
            yield from changes_between(one, other, f"{name}.{key}")
    elif isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        for i, (one, other) in enumerate(zip(before, now, strict=True)):
            if list(changes_between(one, other, f"{name}.{i}")):
                yield SettingChange(name, list(before), list(now))
                return
    elif not _same(before, now):
        yield SettingChange(name, before, now)


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float):
        # Data means are sums, whose last digits depend on the machine.
        return math.isclose(before, now, rel_tol=1e-6)
    return bool(before == now)


def _defaults(target: Any) -> dict[str, Any] | None:
    """The default settings of a node's class; None if the class is unknown."""
    if not isinstance(target, str):
        return None
    try:
        parameters, _ = parameters_of(located(target))
    except (UserError, ValueError, TypeError):
        return None
    return {
        name: _ABSENT if parameter.default is parameter.empty else parameter.default
        for name, parameter in parameters.items()
    }
