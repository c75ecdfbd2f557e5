"""``test=true``: loss and bits per dim of the test split with averaged weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import open_dict

from src.checkpoint import read_checkpoint, restore_model
from src.noise import Address
from src.sampling import Likelihood
from src.sampling.ode.bits_per_dim import BitsPerDim
from src.tasks.train.plan import check_training
from src.tasks.train.task import start_training
from tests.tasks.evaluation_example import composed

SETTINGS = [
    "experiment=digits",
    "net.nf=8",
    "net.ch_mult=[1]",
    "net.attn_resolutions=[]",
    "callbacks=minimal",
    "likelihood=hutchinson",
    "likelihood.likelihood.rtol=1e-2",
    "likelihood.likelihood.atol=1e-2",
    "datamodule.limit=12",
    "datamodule.global_batch_size=4",
    "datamodule.eval_batch_size=5",
    "scheduler.steps=1",
    "optimizer.lr=0.05",
    "trainer.max_steps=4",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "optimized_metric=val/loss",
    "test=true",
]


def test_bits_per_dim_uses_averaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("train", [*SETTINGS, f"paths.run_dir={tmp_path}/run", f"paths.log_dir={tmp_path}"])
    with open_dict(cfg):
        cfg.pop("hydra", None)
    check_training(cfg)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with start_training(cfg) as run:
        assert not torch.backends.cudnn.allow_tf32, "float32_matmul_precision=highest must be applied"
        metrics = run.fit()
        metrics |= run.test()
        value = run.finish(metrics)
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert value == metrics["val/loss"], "the optimized metric must remain after the test"

    (path,) = (tmp_path / "run" / "checkpoints").glob("step00000004.ckpt")
    checkpoint = read_checkpoint(path)
    images = run.datamodule.images("test")  # type: ignore[operator]
    x = images.gather(torch.arange(12)).float() / 255
    measure = BitsPerDim(Likelihood(rtol=1e-2, atol=1e-2))
    expected = {
        weights: float(measure(restore_model(checkpoint, weights), x, Address(cfg.seed, 0, torch.arange(12))).mean())
        for weights in ("ema", "raw")
    }
    assert metrics["test/bits_per_dim"] == pytest.approx(expected["ema"], abs=5e-4)
    assert abs(expected["raw"] - expected["ema"]) > 0.01
