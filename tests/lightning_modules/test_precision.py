"""Precision: the trainer's for the net, float32 for likelihoods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from src.lightning_modules.score_sde_module import ScoreSDEModule


def test_likelihoods_are_computed_without_autocast() -> None:
    seen: dict[str, torch.dtype] = {}

    def objective(model: nn.Module, x: Tensor, *rest: Any, train: bool) -> Tensor:
        seen["loss"] = model(x).dtype
        return x.sum(1)

    def likelihood(model: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        seen["likelihood"] = model(x).dtype
        return x.sum(1)

    module = ScoreSDEModule(nn.Linear(2, 2), objective, torch.optim.SGD, likelihood=likelihood)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module.test_step({"x": torch.ones(3, 2), "index": torch.arange(3)}, 0)
    assert seen == {"loss": torch.bfloat16, "likelihood": torch.float32}
