"""What the processes of a job agree on."""

from __future__ import annotations

import torch

from src.errors import UserError
from src.metrics.distributed import world_size


def raise_together(failure: str | None) -> None:
    """UserError on every process if one has failed, so that none waits for one that has given up.

    Args:
        failure: why this process failed; None if it did not.
    """
    failures: list[str | None] = [failure]
    if world_size() > 1:
        failures = [None] * world_size()
        torch.distributed.all_gather_object(failures, failure)
    reason = next((text for text in failures if text), None)
    if reason is not None:
        raise UserError(reason)
