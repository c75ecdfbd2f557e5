"""EMA snapshots, written by a real trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors import safe_open
from torch import Tensor, nn

from src.callbacks.ema import EMA
from src.callbacks.ema_snapshots import EMASnapshots
from src.checkpoint.averages.functions import ExponentialAverage, PowerAverage
from src.errors import UserError


class Walker(LightningModule):
    """A module whose parameter equals the step number."""

    step_skipped = False

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.net.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.model.net.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(*callbacks: object) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=5,
        callbacks=list(callbacks),  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Walker(), torch.utils.data.DataLoader(torch.zeros(5, 1)))


def test_snapshots_contain_the_averages_of_their_step(tmp_path: Path) -> None:
    ema = EMA({"default": PowerAverage(0.05), "long": PowerAverage(0.1), "other": ExponentialAverage()})
    train(ema, EMASnapshots(tmp_path, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step{n:08d}.safetensors" for n in (2, 4, 5)]
    for step in (2, 4, 5):
        with safe_open(tmp_path / f"step{step:08d}.safetensors", "pt") as file:
            assert sorted(file.keys()) == ["default/weight", "long/weight"]
            assert file.metadata()["updates"] == str(step)
            for name, sigma_rel in (("default", 0.05), ("long", 0.1)):
                average, expected = PowerAverage(sigma_rel), 0.0
                for n in range(1, step + 1):
                    expected += average.rate(n) * (n - expected)
                assert float(file.get_tensor(f"{name}/weight")) == pytest.approx(expected, rel=1e-6)


def test_float16_snapshots(tmp_path: Path) -> None:
    train(EMA({"default": PowerAverage(0.05)}), EMASnapshots(tmp_path, 5, dtype="float16"))
    with safe_open(tmp_path / "step00000005.safetensors", "pt") as file:
        assert file.get_tensor("default/weight").dtype == torch.float16


def test_snapshots_require_power_averages_and_a_known_dtype(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ema=posthoc"):
        train(EMA({"default": ExponentialAverage()}), EMASnapshots(tmp_path, 2))
    with pytest.raises(UserError, match="dtype"):
        EMASnapshots(tmp_path, 2, dtype="int8")
