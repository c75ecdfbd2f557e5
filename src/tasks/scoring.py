"""Scores of samples on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..callbacks.reference import check_extractor, reference_of
from ..distributed import failing_together, on_rank_zero, rank, world_size
from ..errors import UserError
from ..io.atomic import write_json
from ..metrics import MetricSuite, Scores
from ..progress import Progress
from ..sampling.generation import shard
from .sample.store import ImageStore

FILE = "metrics.json"


def chosen_metrics(node: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """The node of a suite with the metrics ``names`` only, all for None; UserError for a name it does not have."""
    if names is None:
        return dict(node)
    unknown = [name for name in names if name not in node["metrics"]]
    if unknown:
        raise UserError(f"there is no metric {', '.join(unknown)}; choose from {', '.join(node['metrics'])}")
    return {**node, "metrics": {name: node["metrics"][name] for name in names}}


def check_scoring(suite: MetricSuite, datamodule: Any, num_samples: int) -> None:
    """What can fail before any sample is made; UserError if it does."""
    check_extractor(datamodule, suite)
    if num_samples < suite.min_samples:
        raise UserError(f"num_samples={num_samples}, but these metrics need at least {suite.min_samples}: raise it")


def score(
    store: ImageStore, suite: MetricSuite, datamodule: Any, *, batch_size: int, device: torch.device, quantize: str
) -> Scores:
    """Scores of all valid samples of a complete folder; every process calls it and gets the same.

    Args:
        store: the samples.
        suite: the metrics.
        datamodule: holds the reference.
        batch_size: images at a time.
        device: where the extractor runs.
        quantize: how the images became bytes.

    Raises:
        UserError: on every process, a sample that cannot be read.
    """
    if suite.needs_data:
        on_rank_zero(datamodule.prepare_data)
        datamodule.setup()
    reference = reference_of(datamodule, suite, device)
    mine = shard(store.valid_indices(), rank(), world_size())
    suite.reset()
    with failing_together(), Progress("scoring", len(mine), enabled=rank() == 0) as progress:
        for first in range(0, len(mine), batch_size):
            index = mine[first : first + batch_size]
            suite.update(store.read(index).to(device), torch.tensor(index))
            progress.add(len(index))
    return suite.compute(reference, quantization=quantize)


def write_scores(folder: Path, values: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
    """``metrics.json``: scores with what they depend on, and how the samples were made."""
    write_json(folder / FILE, {**values, "sampling": dict(sampling)})
