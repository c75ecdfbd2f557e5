"""Score samples on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..config.annotations import is_number
from ..distributed import on_rank_zero
from ..errors import UserError
from ..metrics import MetricSuite, Scores
from ..sampling.statistics import Statistics
from ..sinks.reference import check_extractor, reference_of
from ..sinks.scores import Scoring
from ..sinks.store import SampleStore


def chosen_metrics(node: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Return a suite's node with only the metrics ``names`` (None: all); raise UserError for none or an unknown one."""
    if names is None:
        return dict(node)
    if not names:
        raise UserError(
            f"metrics=[] names no metric; choose from {', '.join(node['metrics'])}, or leave it out for all"
        )
    unknown = [name for name in names if name not in node["metrics"]]
    if unknown:
        raise UserError(f"there is no metric {', '.join(unknown)}; choose from {', '.join(node['metrics'])}")
    return {**node, "metrics": {name: node["metrics"][name] for name in names}}


def check_scoring(suite: MetricSuite, datamodule: Any, num_samples: int) -> None:
    """Check everything that can fail before any sample is generated; raise UserError if a check fails."""
    check_extractor(datamodule, suite)
    if num_samples < suite.min_samples:
        raise UserError(f"num_samples={num_samples}, but these metrics need at least {suite.min_samples}: raise it")


def score(
    store: SampleStore,
    suite: MetricSuite,
    datamodule: Any,
    *,
    batch_size: int,
    device: torch.device | str,
    quantize: str,
) -> Scores | None:
    """Score all valid samples of a complete folder; return None if there are too few. Every process calls it and gets
    the same result.

    Args:
        store: the samples.
        suite: the metrics.
        datamodule: holds the reference.
        batch_size: number of images per batch.
        device: where the extractor runs.
        quantize: how the samples were quantized.

    Raises:
        UserError: on every process, if a sample cannot be read.
    """
    if suite.needs_data:
        on_rank_zero(datamodule.prepare_data)
        datamodule.setup()
    scoring = Scoring(suite, reference_of(datamodule, suite, device), store.values, quantize, device)
    scoring.add_stored(store, store.valid_indices(), batch_size)
    scoring.finish(Statistics())
    return scoring.scores


def generation_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions of a score that the settings of its samples name; settings without effect are left out.

    Args:
        settings: settings in the manifest of the samples.
    """
    facts = {name: settings.get(name) for name in ("weights", "seed", "labels", "precision", "temperature")}
    guidance = settings.get("guidance") or {}
    if "_target_" in guidance:
        numbers = [f"{name} {value:g}" for name, value in guidance.items() if is_number(value)]
        facts["guidance"] = ", ".join([str(guidance["_target_"]).rpartition(".")[2], *numbers])
    return {name: value for name, value in facts.items() if value is not None}
