"""Constraints on samples: a control or a measurement, taken from given data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from ...checkpoint import checkpoint_hash
from ...errors import UserError
from ...noise import normal
from ...sampling.conditioning.control import Replacement
from ...sampling.conditioning.operators import measurement_error
from ...sde import SDE
from .. import checkpoint_config
from .given import Given
from .guidance import GuidedModel
from .picture_mask import with_picture_masks


class Constraint(ABC):
    """A constraint of every sample.

    Args:
        given: the data the constraint is taken from.
        settings: all other settings that the constraint depends on, as plain containers.
    """

    def __init__(self, given: Given, settings: Mapping[str, Any]) -> None:
        self.given = given
        self.settings = {**settings, **given.settings}

    def control(self, index: Tensor) -> Replacement | None:
        """The control of samples ``index`` (B,)."""
        return None

    def condition(self, index: Tensor) -> dict[str, Tensor]:
        """The condition that the model gets for samples ``index`` (B,)."""
        return {}

    @abstractmethod
    def shown(self, index: Tensor, unknown: float) -> Tensor:
        """The known part of samples ``index`` (B,), as data (B, *d); ``unknown`` fills the rest."""

    @abstractmethod
    def error(self, index: Tensor, x: Tensor) -> Tensor:
        """Root mean square distance of samples x (B, *d) from their known part, (B,)."""


class ControlConstraint(Constraint):
    """A part of each sample is known, and a control keeps it.

    Args:
        given: the given data.
        node: the control's node, with ``_target_``.
        sde: SDE of the model.
    """

    def __init__(self, given: Given, node: Mapping[str, Any], sde: SDE) -> None:
        self._make: Callable[..., Replacement] = checkpoint_config.build("control", with_picture_masks(node))
        self._sde = sde
        # Reject a mask that does not fit before anything is sampled, and before the file is hashed.
        self._make(given(torch.zeros(1, dtype=torch.int64)), sde=sde)
        super().__init__(given, {"control": dict(node), **_files(node)})

    def control(self, index: Tensor) -> Replacement:
        return self._make(self.given(index), sde=self._sde)

    def shown(self, index: Tensor, unknown: float) -> Tensor:
        return self.control(index).given_with(torch.full_like(self.given(index), unknown))

    def error(self, index: Tensor, x: Tensor) -> Tensor:
        return self.control(index).error(x)


class MeasurementConstraint(Constraint):
    """A linear measurement of each sample is known, and guidance leads the model to it.

    Args:
        given: the data to measure.
        guided: the model with its operator.
        seed: seed of the measurement's noise, one draw for each row of the data.
    """

    def __init__(self, given: Given, guided: GuidedModel, seed: int) -> None:
        super().__init__(given, _files(guided.settings))
        self._operator, self._noise_std, self._seed = guided.operator, guided.noise_std, seed
        self._measure(torch.zeros(1, dtype=torch.int64))

    def condition(self, index: Tensor) -> dict[str, Tensor]:
        return {"measurement": self._measure(index)}

    def shown(self, index: Tensor, unknown: float) -> Tensor:
        y = self._measure(index)
        return y if y.shape[1:] == self.given(index).shape[1:] else self._operator.pseudo_inverse(y)

    def error(self, index: Tensor, x: Tensor) -> Tensor:
        return measurement_error(self._operator, x, self._measure(index))

    def _measure(self, index: Tensor) -> Tensor:
        y: Tensor = self._operator.forward(self.given(index))
        if self._noise_std:
            y = y + self._noise_std * normal(self._seed, "measurement", 0, index % self.given.count, y.shape[1:])
        return y


def constraint_of(
    cfg: DictConfig, given: Given | None, config: Mapping[str, Any], guided: GuidedModel
) -> Constraint | None:
    """Return the constraint that a command line asks for, if any.

    Args:
        cfg: configuration of the command line.
        given: the data; required if ``needs_given``.
        config: the configuration in the checkpoint.
        guided: the model.

    Raises:
        UserError: two constraints are given, or one does not fit the data.
    """
    if given is None:
        return None
    if cfg.get("control") is not None and guided.operator is not None:
        raise UserError("control and operator exclude each other: give one of them")
    if guided.operator is not None:
        return MeasurementConstraint(given, guided, cfg.seed)
    if cfg.get("control") is not None:
        return ControlConstraint(given, checkpoint_config.node(config, "control", cfg.control), guided.model.sde)
    return None


def needs_given(cfg: DictConfig, guided: GuidedModel) -> bool:
    """Whether samples are generated from data."""
    return bool(cfg.get("control") is not None or guided.operator is not None or cfg.encode)


def _files(node: Any) -> dict[str, Any]:
    """The hashes of files, such as masks, that a node names."""
    hashes = {text: checkpoint_hash(text) for text in _texts(node) if Path(text).is_file()}
    return {"files": hashes} if hashes else {}


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping | list):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(value)
