"""What the jobs of an evaluation share: processes, folder, the model in use, metrics with their references."""

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


class Yardstick:
    """Metrics and what they compare with.

    Args:
        metric: node of a suite.
        datamodule: node of the data, or None if the suite has its reference in a file.
    """

    reference: Mapping[str, Reference]

    def __init__(self, metric: Mapping[str, Any], datamodule: Mapping[str, Any] | None) -> None:
        self.suite = checkpoint_config.build("metric", metric)
        self.datamodule = None if datamodule is None else checkpoint_config.build("datamodule", datamodule)
        if self.datamodule is None and self.suite.needs_data:
            raise UserError(
                "these metrics compare with data: name them with datamodule=<a file of conf/datamodule>, or give "
                "statistics with metric.statistics_path"
            )
        self._prepared = False

    def check(self, num_samples: int) -> None:
        """What can fail before any sample is made; UserError if it does."""
        if self.datamodule is not None:
            scoring.check_scoring(self.suite, self.datamodule, num_samples)

    def prepare(self, fabric: Fabric) -> None:
        """The reference, from its cache, its file or the data; all processes call it."""
        if self._prepared:
            return
        if self.datamodule is None:
            self.reference = self.suite.reference([], "", "", fabric.device)
        else:
            if self.suite.needs_data:
                on_rank_zero(self.datamodule.prepare_data)
                self.datamodule.setup()
            self.reference = reference_of(self.datamodule, self.suite, fabric.device)
        self._prepared = True


class Context:
    """The surroundings of jobs.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.

    Attributes:
        fabric: processes and devices, once they are started.
        folder: of the results, once it is known.
    """

    fabric: Fabric
    folder: Path

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._yardsticks: dict[str, Yardstick] = {}
        self._model: tuple[dict[str, Any], ScoreModel, list[str]] | None = None

    def model(self, subject: Subject) -> tuple[ScoreModel, list[str]]:
        """The model of a subject on this process' device, and notes on its weights; the last one is kept.

        All processes call it; UserError on every one if one cannot have the weights.
        """
        if self._model is None or self._model[0] != subject.identity:
            self._model = None  # two at once may be too many
            with failing_together():
                model, notes = subject.model()
            self._model = subject.identity, model.to(self.fabric.device), notes
        return self._model[1], self._model[2]

    def yardstick(self, metric: Mapping[str, Any], datamodule: Mapping[str, Any] | None) -> Yardstick:
        """One for each pair of nodes."""
        key = json.dumps([metric, datamodule], sort_keys=True)
        if key not in self._yardsticks:
            self._yardsticks[key] = Yardstick(metric, datamodule)
        return self._yardsticks[key]

    def node(self, config: Mapping[str, Any], name: str, **beside: Any) -> dict[str, Any]:
        """A node of a checkpoint's configuration with the changes of the command line, see ``checkpoint_config``."""
        return checkpoint_config.node(config, name, self.cfg.get(name), **beside)


@runtime_checkable
class Job(Protocol):
    """One entry of the record to be."""

    task: str
    label: str
    subject: dict[str, Any]
    settings: dict[str, Any]

    def prepare(self, context: Context) -> None:
        """Data and references; fails before anything expensive."""

    def run(self, context: Context) -> Result:
        """The result; all processes call it and get the same."""

    def clean_up(self) -> None:
        """Remove what the result was made from, once it is on the disk; the first process calls it."""
