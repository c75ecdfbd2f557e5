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
        datamodule: has ``reference_split``, ``reference_batches``, ``fingerprint``, ``shape`` and
            ``data_name``.
        suite: the metrics.
        device: where the extractor runs.

    Raises:
        UserError: the data are not images, or not images that the extractor accepts.
    """
    check_extractor(datamodule, suite)
    if not suite.needs_data:
        return suite.reference([], "", "", device)
    split = datamodule.reference_split
    source = f"{datamodule.data_name} {split}"
    return suite.reference(datamodule.reference_batches(_BATCH), datamodule.fingerprint(split), source, device)


def check_extractor(datamodule: Any, suite: MetricSuite) -> None:
    """Raise UserError if the data are not images that the extractors of ``suite`` accept."""
    if len(datamodule.shape) != 3:
        raise UserError(f"{datamodule.data_name} has no images to score: leave the scores out", shared=True)
    try:
        for extractor in suite.extractors.values():
            extractor(torch.zeros(1, *datamodule.shape, dtype=torch.uint8, device=extractor.device))
    except ValueError as error:
        raise UserError(
            f"{error}: choose a metric that fits the data of {datamodule.data_name}", shared=True
        ) from error
