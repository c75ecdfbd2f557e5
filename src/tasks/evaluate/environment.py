"""What units of evaluation share: processes, folder, the model in use, metrics with their references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.fabric import Fabric
from omegaconf import DictConfig

from ...distributed import failing_together, on_rank_zero
from ...errors import UserError
from ...metrics import Reference
from ...sde import ScoreModel
from ...sinks.record import Result
from ...sinks.reference import reference_of
from .. import checkpoint_config, scoring
from .subjects import Subject


class ScoringSetup:
    """Metrics and the data they compare with.

    Args:
        metric: node of a suite.
        datamodule: node of the data, or None if the suite has its reference in a file.

    Raises:
        UserError: metrics that compare with data, and no data.
    """

    def __init__(self, metric: Mapping[str, Any], datamodule: Mapping[str, Any] | None) -> None:
        self.suite = checkpoint_config.build("metric", metric)
        self.datamodule = None if datamodule is None else checkpoint_config.build("datamodule", datamodule)
        if self.datamodule is None and self.suite.needs_data:
            raise UserError(
                "these metrics compare with data: name them with datamodule=<a file of conf/datamodule>, or give "
                "statistics with metric.statistics_path"
            )

    def check(self, num_samples: int) -> None:
        """Raise UserError for what can fail before any sample is made."""
        if self.datamodule is not None:
            scoring.check_scoring(self.suite, self.datamodule, num_samples)

    def references(self, device: Any) -> Mapping[str, Reference]:
        """References from their cache, their file or the data; all processes call it."""
        if self.datamodule is None:
            found: Mapping[str, Reference] = self.suite.reference([], "", "", device)
            return found
        if self.suite.needs_data:
            on_rank_zero(self.datamodule.prepare_data)
            self.datamodule.setup()
        return reference_of(self.datamodule, self.suite, device)


class ScoringSetups:
    """One ``ScoringSetup`` for each pair of nodes, so that extractors and references are loaded once."""

    def __init__(self) -> None:
        self._setups: dict[str, ScoringSetup] = {}

    def get(self, metric: Mapping[str, Any], datamodule: Mapping[str, Any] | None) -> ScoringSetup:
        """The setup of a suite's node and the data's node."""
        key = json.dumps([metric, datamodule], sort_keys=True)
        if key not in self._setups:
            self._setups[key] = ScoringSetup(metric, datamodule)
        return self._setups[key]


class Environment:
    """Processes, folder and loaded resources of an evaluation.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        fabric: processes and devices.
        folder: of the results.
    """

    def __init__(self, cfg: DictConfig, fabric: Fabric, folder: Path) -> None:
        self.cfg, self.fabric, self.folder = cfg, fabric, folder
        self._references: dict[ScoringSetup, Mapping[str, Reference]] = {}
        self._models: dict[str, tuple[ScoreModel, list[str]]] = {}

    def model(self, subject: Subject) -> tuple[ScoreModel, list[str]]:
        """The model of a subject on this process' device, and notes on its weights; the last one is kept.

        All processes call it; UserError on every one if one cannot have the weights.
        """
        key = json.dumps(subject.identity, sort_keys=True)
        if key not in self._models:
            self._models.clear()  # two at once may be too many
            with failing_together():
                model, notes = subject.model()
            self._models[key] = model.to(self.fabric.device), notes
        return self._models[key]

    def references(self, setup: ScoringSetup) -> Mapping[str, Reference]:
        """The references of a setup, loaded once; all processes call it."""
        if setup not in self._references:
            self._references[setup] = setup.references(self.fabric.device)
        return self._references[setup]


@runtime_checkable
class Work(Protocol):
    """A unit of evaluation that is ready to run."""

    def run(self) -> Result:
        """Compute the result; all processes call it and get the same."""
        ...

    def clean_up(self) -> None:
        """Remove what the result was made from, once it is on the disk; the first process calls it."""
        ...


@runtime_checkable
class EvaluationJob(Protocol):
    """One unit of evaluation work; yields one result."""

    @property
    def task(self) -> str:
        """``scores``, ``bits_per_dim`` or ``loss``."""
        ...

    @property
    def label(self) -> str:
        """Name of the subject for a reader."""
        ...

    @property
    def subject(self) -> dict[str, Any]:
        """What is measured."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Everything else the result depends on."""
        ...

    def prepare(self, environment: Environment) -> Work:
        """Load data and references; fails before anything expensive."""
        ...
