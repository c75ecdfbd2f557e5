"""What units of evaluation share: processes, output folder, the current model, metrics with their references."""

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
        metric: node of a metric suite.
        datamodule: node of the data, or None if the suite reads its reference from a file.

    Raises:
        UserError: the metrics need data, and no data are given.
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
        """Raise UserError for errors that can be found before any sample is generated."""
        if self.datamodule is not None:
            scoring.check_scoring(self.suite, self.datamodule, num_samples)

    def references(self, device: Any) -> Mapping[str, Reference]:
        """Load references from their cache, their file or the data; all processes call it."""
        if self.datamodule is None:
            found: Mapping[str, Reference] = self.suite.reference([], "", "", device)
            return found
        if self.suite.needs_data:
            on_rank_zero(self.datamodule.prepare_data)
            self.datamodule.setup()
        return reference_of(self.datamodule, self.suite, device)


class ScoringSetups:
    """Make one ``ScoringSetup`` for each pair of nodes, so that extractors and references are loaded once."""

    def __init__(self) -> None:
        self._setups: dict[str, ScoringSetup] = {}

    def get(self, metric: Mapping[str, Any], datamodule: Mapping[str, Any] | None) -> ScoringSetup:
        """Return the setup for a suite's node and the data's node."""
        key = json.dumps([metric, datamodule], sort_keys=True)
        if key not in self._setups:
            self._setups[key] = ScoringSetup(metric, datamodule)
        return self._setups[key]


class Environment:
    """Processes, folder and loaded resources of an evaluation.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        fabric: processes and devices.
        folder: output folder.
    """

    def __init__(self, cfg: DictConfig, fabric: Fabric, folder: Path) -> None:
        self.cfg, self.fabric, self.folder = cfg, fabric, folder
        self._references: dict[ScoringSetup, Mapping[str, Reference]] = {}
        self._models: dict[str, tuple[ScoreModel, list[str]]] = {}

    def model(self, subject: Subject) -> tuple[ScoreModel, list[str]]:
        """Return the model of a subject on this process' device, and notes on its weights; the last model is cached.

        All processes call it. If one process cannot load the weights, every process raises UserError.
        """
        key = json.dumps(subject.identity, sort_keys=True)
        if key not in self._models:
            self._models.clear()  # two models may not fit into memory
            with failing_together():
                model, notes = subject.model()
            self._models[key] = model.to(self.fabric.device), notes
        return self._models[key]

    def references(self, setup: ScoringSetup) -> Mapping[str, Reference]:
        """Load the references of a setup once; all processes call it."""
        if setup not in self._references:
            self._references[setup] = setup.references(self.fabric.device)
        return self._references[setup]


@runtime_checkable
class Work(Protocol):
    """A unit of evaluation that is ready to run."""

    def run(self) -> Result:
        """Compute the result; all processes call it and return the same result."""
        ...

    def clean_up(self) -> None:
        """Delete temporary files once the result is stored; the first process calls it."""
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
        """All other settings that the result depends on."""
        ...

    def prepare(self, environment: Environment) -> Work:
        """Load data and references; raise UserError before any expensive work."""
        ...
