"""A noise-conditional classifier is trained by the same module; its accuracy per noise level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from src.callbacks.monitors.accuracy import NoisyAccuracy
from src.callbacks.run_record import RunRecord
from src.checkpoint import read_checkpoint, restore_classifier
from src.cli.instantiate import fill_in_from_data, instantiate, instantiate_all, plain
from src.cli.run_dir import register_resolvers
from src.errors import UserError
from src.noise import Address
from tests.support.configs import CONF

STEPS = 80


def test_digits_are_classified_better_with_less_noise(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "experiment=digits_classifier",
                f"paths.run_dir={tmp_path}",
                f"trainer.max_steps={STEPS}",
                f"trainer.val_check_interval={STEPS}",
                "trainer.log_every_n_steps=10",
                "model.net.nf=16",
                "scheduler.steps=10",
                "optimizer.lr=5e-3",
            ],
        )
    datamodule = instantiate(cfg.datamodule)
    fill_in_from_data(cfg, datamodule)
    torch.manual_seed(0)
    module = instantiate(cfg.module)
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = instantiate(
        cfg.trainer, callbacks=[*instantiate_all(cfg.callbacks), RunRecord(plain(cfg))], logger=logger
    )
    trainer.fit(module, datamodule)
    accuracy = [float(trainer.callback_metrics[f"val/accuracy_{level:g}"]) for level in (0.01, 0.2, 1.0)]
    assert accuracy[0] > 0.7
    assert accuracy[0] > accuracy[2] > 0.1
    saved = read_checkpoint(tmp_path / "checkpoints" / f"step{STEPS:08d}.ckpt")
    averaged = restore_classifier(saved)
    batch = datamodule.on_after_batch_transfer(next(iter(datamodule.val_dataloader())), 0)
    right = averaged(batch["x"], torch.tensor(1e-5, dtype=torch.float64)).argmax(dim=1) == batch["labels"]
    assert float(right.float().mean()) == pytest.approx(accuracy[0], abs=0.03)


class Sign:
    """Classify by the sign of the first element."""

    def __init__(self, sde: Any) -> None:
        self.sde = sde

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.stack([-x[:, 0], x[:, 0]], dim=1)


@pytest.mark.parametrize("seed", [0, 5])
def test_accuracy_counts_each_sample_once_at_each_level(seed: int) -> None:
    from lightning.pytorch import LightningModule, Trainer

    from src.sde import EDMSDE

    callback = NoisyAccuracy([0.1, 2.0], seed=seed)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = LightningModule()
    module.model = Sign(EDMSDE())  # type: ignore[assignment]
    x = torch.linspace(-1, 1, 50)[:, None]
    labels = (x[:, 0] > 0).long()
    for rows in (torch.arange(30), torch.arange(30, 50)):
        batch = {"x": x[rows], "labels": labels[rows], "index": rows}
        callback.on_validation_batch_end(trainer, module, None, batch, 0)
    callback.on_validation_epoch_end(trainer, module)
    for k, level in enumerate((0.1, 2.0)):
        noisy = x + level * Address(seed, 0, torch.arange(50)).normal(f"accuracy {k}", x)
        expected = float(((noisy[:, 0] > 0) == (labels == 1)).float().mean())
        assert float(trainer.callback_metrics[f"val/accuracy_{level:g}"]) == pytest.approx(expected)


def test_invalid_noise_levels_are_refused() -> None:
    with pytest.raises(UserError, match="all above 0"):
        NoisyAccuracy([0.0, 1.0])
