"""Time budget of a run, on a simulated clock: last step, learning rates, last checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks import time_budget
from src.callbacks.checkpoints import Checkpoints
from src.callbacks.time_budget import TimeBudget
from src.errors import UserError


class _Line(LightningModule):
    """A module whose step takes one second of the simulated clock."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.clock = clock
        self.rates: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.clock[0] += 1.0
        return (self.weight * batch[0]).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: now[0])
    return now


def fit(clock: list[float], folder: Path, seconds: float, **further: Any) -> tuple[_Line, Trainer]:
    module = _Line(clock)
    budget = TimeBudget(seconds, warm_up_steps=4, agree_every_n_steps=1)
    trainer = Trainer(
        max_steps=further.pop("max_steps", -1),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[budget, Checkpoints(str(folder), every_n_steps=further.pop("every", 10**6))],
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(7, 1))), **further)
    return module, trainer


def test_training_stops_when_the_time_is_used_and_saves(clock: list[float], tmp_path: Path) -> None:
    module, trainer = fit(clock, tmp_path, 20)
    assert trainer.global_step == 20
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["step00000020.ckpt"]
    expected = [0.5 * min(1.0, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert module.rates == pytest.approx(expected)


def test_max_steps_below_the_budget_is_kept(clock: list[float], tmp_path: Path) -> None:
    _, trainer = fit(clock, tmp_path, 20, max_steps=5)
    assert trainer.global_step == 5


def test_a_resumed_run_uses_the_remaining_time(clock: list[float], tmp_path: Path) -> None:
    fit(clock, tmp_path, 20, max_steps=8, every=8)
    clock[0] += 500.0
    module, trainer = fit(clock, tmp_path, 20, ckpt_path=tmp_path / "step00000008.ckpt", weights_only=True)
    assert trainer.global_step == 20
    uninterrupted, _ = fit(clock, tmp_path / "whole", 20)
    # The checkpoint stores the time before writing, so the schedule continues without a gap.
    assert module.rates == pytest.approx(uninterrupted.rates[8:])


def test_the_learning_rate_ends_at_the_final_factor() -> None:
    budget = TimeBudget(10, warm_up_steps=0, final=0.25)
    assert [budget.factor(0, s) for s in (0.0, 5.0, 10.0, 99.0)] == pytest.approx([1.0, 0.625, 0.25, 0.25])


@pytest.mark.parametrize(
    "settings",
    [{"seconds": 0}, {"seconds": 1, "warm_up_steps": -1}, {"seconds": 1, "agree_every_n_steps": 0},
     {"seconds": 1, "final": 1.5}],
)  # fmt: skip
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"callbacks\.time_budget"):
        TimeBudget(**settings)
