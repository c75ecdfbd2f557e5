"""Points in the plane: training learns the exact score, and the values shown in the picture are correct."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from PIL import Image

from src.callbacks.monitors.toy_picture import ToyPicture
from src.cli.instantiate import fill_in_from_data, instantiate, instantiate_all
from src.cli.run_dir import register_resolvers
from src.datamodules.digits import DigitsDataModule
from src.datamodules.toy import ToyDataModule
from src.errors import UserError
from src.sampling import Heun, KarrasGrid
from src.sampling.mixture import GaussianMixture
from src.sde import VESDE, VPSDE
from src.toy.view import FINEST, REACH, exact_model, make_view, score_error
from tests.support.configs import CONF

STEPS = 500


def toy2d(folder: Path, *overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["experiment=toy2d", f"paths.run_dir={folder}", *overrides])


def train(cfg: DictConfig) -> tuple[Trainer, Any, Any]:
    datamodule = instantiate(cfg.datamodule)
    fill_in_from_data(cfg, datamodule)
    torch.manual_seed(0)
    module = instantiate(cfg.module)
    logger = CSVLogger(cfg.paths.run_dir, name="", version="")
    trainer = instantiate(cfg.trainer, callbacks=instantiate_all(cfg.callbacks), logger=logger)
    trainer.fit(module, datamodule)
    return trainer, module, datamodule


@pytest.mark.slow
def test_the_exact_score_is_learned(tmp_path: Path) -> None:
    cfg = toy2d(
        tmp_path,
        f"trainer.max_steps={STEPS}",
        "datamodule.global_batch_size=256",
        "scheduler.steps=50",
        "callbacks.toy_picture.num_samples=400",
        "callbacks.toy_picture.resolution=20",
        "trainer.val_check_interval=null",
    )
    trainer, module, datamodule = train(cfg)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("toy/")}
    # The score of the untrained net (preconditioning only) has an error above 0.4.
    module.eval()
    fresh = instantiate(cfg.model)
    exact = exact_model(fresh, datamodule)
    assert exact is not None
    assert score_error(fresh, exact, datamodule.sample(400)) > 0.4
    assert metrics["toy/score_error"] < 0.1
    # The difference in nats is the KL divergence: not negative, apart from the sampling error of 400 points.
    assert -0.05 < metrics["toy/exact_log_likelihood"] - metrics["toy/log_likelihood"] < 0.3
    with Image.open(tmp_path / "pictures" / f"step{STEPS:08d}.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 1000
    assert "toy/score_error" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize("kind", ["checkerboard", "spirals"])
def test_data_without_an_exact_score_have_a_picture(kind: str, tmp_path: Path) -> None:
    cfg = toy2d(
        tmp_path,
        f"datamodule.kind={kind}",
        "sde=vp",
        "trainer.max_steps=2",
        "scheduler.steps=1",
        "net.width=16",
        "callbacks.toy_picture.num_samples=20",
        "callbacks.toy_picture.resolution=6",
    )
    trainer, _, _ = train(cfg)
    assert (tmp_path / "pictures" / "step00000002.png").exists()
    assert math.isfinite(trainer.callback_metrics["toy/log_likelihood"])
    assert "toy/score_error" not in trainer.callback_metrics


@pytest.mark.parametrize("sde", [VESDE(), VPSDE()], ids=["ve", "vp"])
def test_the_picture_values_of_the_exact_model_are_exact(sde: VESDE | VPSDE) -> None:
    """The log-likelihood by the ODE and its divergence equals the closed form."""
    datamodule = ToyDataModule()
    exact = exact_model(type("Model", (), {"sde": sde}), datamodule)
    assert isinstance(exact, GaussianMixture)
    view = make_view(exact, exact, datamodule.sample(60).double(), datamodule.sample(5).double(), resolution=40)
    assert view.score_error == 0
    assert view.exact_log_p is not None and view.exact_density is not None
    torch.testing.assert_close(view.log_p, view.exact_log_p, atol=0.02, rtol=0)
    masses = [
        float(grid.exp().sum() * (2 * REACH / (len(grid) - 1)) ** 2) for grid in (view.density, view.exact_density)
    ]
    assert masses == pytest.approx([1, 1], abs=0.02)
    for field in view.fields:
        torch.testing.assert_close(field.learned, field.exact)
    # Paths start from a Gaussian and end at the modes.
    start, end = view.paths[0], view.paths[-1]
    assert abs(float(start.square().mean()) - 1) < 0.3
    away = torch.cdist(end.double(), datamodule.mixture[1]).amin(dim=1)
    assert float((away.square().mean() / 2).sqrt()) == pytest.approx(math.hypot(0.1, FINEST), rel=0.25)


def test_images_are_refused(tmp_path: Path) -> None:
    callback = ToyPicture(1, 4, 0, Heun(KarrasGrid(3)), tmp_path)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.datamodule = DigitsDataModule()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"shows points in the plane, but the data have shape \(1, 8, 8\)"):
        callback.setup(trainer, LightningModule(), "fit")
