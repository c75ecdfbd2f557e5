"""Precisions: the net's is that of the trainer; weights, data and likelihoods stay in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.lightning_modules.score_sde_module import ScoreSDEModule
from tests.lightning_modules.tiny_run import trained


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


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_weights_are_not_held_in_half_precision(precision: str) -> None:
    with pytest.raises(UserError, match=rf"trainer.precision={precision} .* use {precision[:-4]}mixed"):
        trained(f"trainer.precision={precision}")
