"""Checkpoints due after an optimizer step are written with and without validation data."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks.checkpoints import Checkpoints


class _Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated: list[int] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.weight * batch[0]).sum()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.validated.append(self.trainer.global_step)
        self.log("loss", (self.weight * batch[0]).sum())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("validation", [0, 2])
@pytest.mark.parametrize(
    "due", [{"val_check_interval": 3}, {"check_val_every_n_epoch": 2}], ids=lambda due: next(iter(due))
)
def test_checkpoints_at_steps_with_validation(validation: int, due: dict[str, Any], tmp_path: Path) -> None:
    module = _Line()
    trainer = Trainer(
        max_steps=6,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Checkpoints(str(tmp_path), every_n_steps=1)],
        **due,
    )
    data = DataLoader(TensorDataset(torch.ones(3, 1)))
    trainer.fit(module, data, DataLoader(TensorDataset(torch.ones(validation, 1))) if validation else [])
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [f"step{step:08d}.ckpt" for step in range(1, 7)]
    assert set(module.validated) == (set() if not validation else {6} if "check_val_every_n_epoch" in due else {3, 6})


class _StopAtThree(Callback):
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 3


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"max_steps": 4}, 4),
        ({"max_steps": -1, "max_epochs": 2}, 6),
        ({"max_steps": -1, "max_time": timedelta(microseconds=1)}, 1),
        ({"max_steps": -1, "max_epochs": 5, "callbacks": [_StopAtThree()]}, 3),
        ({"max_steps": -1, "max_epochs": 9, "callbacks": [EarlyStopping("loss", patience=1, mode="max")]}, None),
    ],
    ids=["max_steps", "max_epochs", "max_time", "should_stop", "early_stopping"],
)
def test_the_last_step_is_saved_for_every_stop_condition(
    settings: dict[str, Any], last: int | None, tmp_path: Path
) -> None:
    callbacks = [*settings.pop("callbacks", []), Checkpoints(str(tmp_path), every_n_steps=1000)]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = Trainer(accelerator="cpu", callbacks=callbacks, **quiet, **settings)
    data = DataLoader(TensorDataset(torch.ones(3, 1)))
    trainer.fit(_Line(), data, data)
    assert last in (None, trainer.global_step) and 0 < trainer.global_step < 27
    assert [path.name for path in tmp_path.glob("*.ckpt")] == [f"step{trainer.global_step:08d}.ckpt"]
