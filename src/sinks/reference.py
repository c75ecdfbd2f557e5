"""The reference of scores: features of a datamodule's reference split."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import UserError
from ..metrics import MetricSuite, Reference

_BATCH = 256


def reference_of(datamodule: Any, suite: MetricSuite, device: torch.device | str) -> dict[str, Reference]:
    """Return the references of ``suite`` by extractor; data are read only if no statistics file or cache has them.

    Args:
        datamodule: has ``reference_split``, ``reference_batches``, ``fingerprint`` and ``shape``.
        suite: the metrics.
        device: where the extractor runs.

    Raises:
        UserError: the data are no images, or none the extractor takes.
    """
    check_extractor(datamodule, suite)
    if not suite.needs_data:
        return suite.reference([], "", "", device)
    split = datamodule.reference_split
    source = f"{data_name(datamodule)} {split}"
    return suite.reference(datamodule.reference_batches(_BATCH), datamodule.fingerprint(split), source, device)


def check_extractor(datamodule: Any, suite: MetricSuite) -> None:
    """Raise UserError if the data are not images that the extractors of ``suite`` accept."""
    if len(datamodule.shape) != 3:
        raise UserError(
            f"{data_name(datamodule)} holds no images, so there is nothing to score: leave the scores out", shared=True
        )
    try:
        for extractor in suite.extractors.values():
            extractor(torch.zeros(1, *datamodule.shape, dtype=torch.uint8, device=extractor.device))
    except ValueError as error:
        raise UserError(
            f"{error}: choose a metric that fits the data of {data_name(datamodule)}", shared=True
        ) from error


def data_name(datamodule: Any) -> str:
    """Return a short name of the data, such as ``cifar10``."""
    named = getattr(datamodule, "dataset", None)
    return named if isinstance(named, str) else type(datamodule).__name__.removesuffix("DataModule").lower()
