"""Compare samplers and step counts, and find which of them are worth their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ...config.build import nearest
from ...config.location import CONFIG_DIR
from ...errors import UserError
from ...sinks.record import Result
from .. import checkpoint_config

OWN = "own"


@dataclass(frozen=True)
class Choice:
    """A sampler with a number of steps.

    Attributes:
        label: name of the sampler, with its changes.
        steps: number of steps of its grid; None for a sampler without a grid, which chooses its steps itself.
        node: its configuration.
    """

    label: str
    steps: int | None
    node: dict[str, Any]

    @property
    def point(self) -> dict[str, Any]:
        """What distinguishes this choice from others."""
        return {"sampler": self.label, "steps": self.steps}


def choices(samplers: Any, steps: Any, config: Mapping[str, Any]) -> list[Choice]:
    """Return every sampler at every number of steps.

    Args:
        samplers: names of ``conf/sampler``, ``own`` for the checkpoint's, or {name, overrides} with nested overrides.
        steps: numbers of steps.
        config: the configuration inside the checkpoint.

    Raises:
        UserError: a sampler or a setting does not exist, or there are no step counts.
    """
    asked = OmegaConf.to_container(samplers) if OmegaConf.is_config(samplers) else samplers
    counts = list(dict.fromkeys(steps if OmegaConf.is_list(steps) or isinstance(steps, list) else [steps]))
    if not asked or not counts or any(not isinstance(count, int) or count < 1 for count in counts):
        raise UserError(f"samplers={samplers} steps={steps}: give at least one sampler and one number of steps")
    found = []
    for one in asked if isinstance(asked, list) else [asked]:
        name, overrides = _parsed(one)
        node = _node(name, overrides, config)
        label = name + (f"({', '.join(_flat(overrides))})" if overrides else "")
        grid = node.get("grid")
        if isinstance(grid, Mapping) and "steps" in grid:
            found += [Choice(label, count, {**node, "grid": {**grid, "steps": count}}) for count in counts]
        else:
            found.append(Choice(label, None, node))
    labels = [(choice.label, choice.steps) for choice in found]
    if len(set(labels)) < len(labels):
        raise UserError(f"samplers={samplers} names a sampler twice with the same settings: name it once")
    return found


def front(entries: Sequence[Result], value: str, cost: str) -> list[Result]:
    """Return the entries that no cheaper one equals, by increasing cost: the best for every budget.

    Entries without a value do not count, nor those that lost samples, because lost samples improve a score unfairly.
    """
    usable = [e for e in entries if e.values.get(value) is not None and not e.conditions.get("invalid_samples")]
    best: list[Result] = []
    for entry in sorted(usable, key=lambda e: (e.conditions[cost], _number(e, value))):
        if not best or _number(entry, value) < _number(best[-1], value):
            best.append(entry)
    return best


def best_lines(entries: Sequence[Result], value: str) -> list[str]:
    """Describe the best point of every budget of evaluations, a line each."""
    return [
        f"with {e.conditions['nfe']:g} evaluations or more: {e.label}, {value} {_number(e, value):.4g}, "
        f"{e.conditions['seconds_per_image']:.3g} s an image"
        for e in front(entries, value, "nfe")
    ]


def _number(entry: Result, value: str) -> float:
    number = entry.values[value]
    assert number is not None
    return number


def _parsed(one: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(one, str):
        return one, {}
    if isinstance(one, dict) and isinstance(one.get("name"), str) and set(one) <= {"name", "overrides"}:
        return one["name"], dict(one.get("overrides") or {})
    raise UserError(f"samplers contains {one}: give a name, or {{name: pc, overrides: {{...}}}}")


def _node(name: str, overrides: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    if name == OWN:
        node = checkpoint_config.node(config, "sampler", None)
    else:
        path = CONFIG_DIR / "sampler" / f"{name}.yaml"
        if not path.is_file():
            names = sorted(file.stem for file in path.parent.glob("*.yaml"))
            raise UserError(f"there is no sampler {name}{nearest(name, names)}; choose from {', '.join([OWN, *names])}")
        changes = OmegaConf.load(path)
        assert isinstance(changes, DictConfig)
        node = checkpoint_config.node(config, "sampler", changes)
    unknown = _unknown(overrides, node)
    if unknown:
        raise UserError(f"samplers: {name} has no setting {unknown}{nearest(unknown, _flat(node, names_only=True))}")
    merged: Any = OmegaConf.to_container(OmegaConf.merge(node, overrides))
    return dict(merged)


def _unknown(overrides: Mapping[str, Any], node: Any, prefix: str = "") -> str | None:
    for key, value in overrides.items():
        if not isinstance(node, Mapping) or key not in node:
            return f"{prefix}{key}"
        # A part with another target has its own settings.
        if isinstance(value, Mapping) and "_target_" not in value:
            deeper = _unknown(value, node[key], f"{prefix}{key}.")
            if deeper:
                return deeper
    return None


def _flat(node: Mapping[str, Any], prefix: str = "", names_only: bool = False) -> list[str]:
    lines = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.", names_only)
        else:
            lines.append(f"{prefix}{key}" if names_only else f"{prefix}{key}={value}")
    return lines
