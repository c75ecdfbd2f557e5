"""Nets of the original with their weights, inputs and outputs, kept in tests/data/nets in parts of a bounded size."""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden import DATA

CONFIGS: dict[str, Any] = json.loads((DATA / "nets" / "index.json").read_text())


def load(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state under the original's names, and x, cond and y."""
    state, rest = {}, {}
    for path in sorted((DATA / "nets").glob(f"{name}.*.npz")):
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                target = state if key.startswith("state.") else rest
                target[key.removeprefix("state.")] = torch.from_numpy(file[key])
    return state, rest
