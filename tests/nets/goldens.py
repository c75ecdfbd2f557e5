"""Nets of the original code with weights, inputs and outputs, kept in tests/data/nets in files of limited size."""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.golden import DATA, relative

CONFIGS: dict[str, Any] = json.loads((DATA / "nets" / "index.json").read_text())


def load(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the state under the original's names, and a dict with x, cond and y."""
    state, rest = {}, {}
    for path in sorted((DATA / "nets").glob(f"{name}.*.npz")):
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                target = state if key.startswith("state.") else rest
                target[key.removeprefix("state.")] = torch.from_numpy(file[key])
    return state, rest


def forward(net: nn.Module, name: str, state: dict[str, Tensor], case: dict[str, Tensor]) -> Tensor:
    """Compute what the original model computes from ``case``, with ``net`` as its network."""
    config, x, cond = CONFIGS[name], case["x"], case["cond"]
    y: Tensor = net(x if config["centered"] else 2 * x - 1, cond)
    if config["model"]["scale_by_sigma"]:
        sigma = cond if config["continuous"] else state["sigmas"].to(device=x.device, dtype=x.dtype)[cond]
        y = y / sigma[:, None, None, None]
    return y


def error(y: Tensor, expected: Tensor) -> float:
    """Return the largest relative error over images; each image has its own scale because of the division by sigma."""
    return max(relative(actual, target) for actual, target in zip(y, expected, strict=True))
