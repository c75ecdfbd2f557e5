"""Batches like those of a ``Generation``, made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from src.sampling.batch import GeneratedBatch


def batch(
    index: Tensor, shown: Tensor, samples: Tensor | None = None, trajectory: Tensor | None = None
) -> GeneratedBatch:
    """Return valid samples (B, *d) with the addresses ``index`` (B,)."""
    samples = shown.float() if samples is None else samples
    ones = torch.ones(len(index))
    return GeneratedBatch(index, samples, shown, shown, ones.long(), ones, ones.bool(), trajectory)
