"""Score samples on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..distributed import on_rank_zero
from ..errors import UserError
from ..metrics import MetricSuite, Scores
from ..sampling.statistics import Statistics
from ..sinks.reference import check_extractor, reference_of
from ..sinks.scores import Scoring
from ..sinks.store import SampleStore


def chosen_metrics(node: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Return a suite's node with only the metrics ``names`` (None: all); raise UserError for an unknown name."""
    if names is None:
        return dict(node)
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
    quantization = store.values.scored_as(quantize)
    scoring = Scoring(suite, reference_of(datamodule, suite, device), quantization, device)
    scoring.add_stored(store, store.valid_indices(), batch_size)
    scoring.finish(Statistics())
    return scoring.scores


def describe(sampler: Mapping[str, Any]) -> str:
    """Describe a sampler's node: its class, the classes of its parts, its steps."""

    def name(node: Mapping[str, Any]) -> str:
        return str(node["_target_"]).rpartition(".")[2]

    grid = sampler.get("grid")
    parts = [
        name(part) for part in sampler.values() if isinstance(part, Mapping) and "_target_" in part and part != grid
    ]
    inside = ", ".join(part for part in parts if not part.startswith("No"))
    steps = f" {grid['steps']} steps" if isinstance(grid, Mapping) and "steps" in grid else ""
    return name(sampler) + (f"({inside})" if inside else "") + steps
