"""Reference values computed with the original code, kept in tests/data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parents[1] / "data"


def load(name: str) -> dict[str, Tensor]:
    """Return all arrays of tests/data/<name>.npz as tensors."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def relative(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference divided by the largest expected magnitude."""
    return float((actual - expected).abs().max() / expected.abs().max())
