"""Models shipped with the package: complete, small, and able to denoise and sample."""

from __future__ import annotations

import pytest
import torch

from src import load
from src.api import LoadedModel
from src.checkpoint.find import SHIPPED, find_checkpoint, shipped_models
from src.config.build import build
from src.interop.checkpoints import open_checkpoint

MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def digits() -> LoadedModel:
    return load("digits")


def test_the_digits_model_is_shipped() -> None:
    assert "digits" in shipped_models()


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_is_complete_and_small(name: str) -> None:
    files = list((SHIPPED / name).iterdir())
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    # Opening compares config.json with the hash in the header of the weights.
    checkpoint = open_checkpoint(find_checkpoint(name, "logs"))
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())


def test_a_local_folder_has_precedence(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.raises(Exception, match="no checkpoint in digits"):
        load("digits")


def test_digits_are_denoised_better_than_by_the_mean(digits) -> None:
    data = build(digits.config["datamodule"])
    data.prepare_data()
    data.setup()
    x = data.values.to_model(data.images("test").gather(torch.arange(64)), digits.data_range)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=generator)
    t = torch.linspace(0.4, 0.6, 64, dtype=torch.float64)
    sigma = digits.sde.sigma(t).float()[:, None, None, None]
    error = (digits.denoise(x + sigma * noise, t) - x).square().mean()
    mean_error = (x - x.mean(dim=0)).square().mean()
    assert error < 0.35 * mean_error and error < 0.35 * (sigma * noise).square().mean()


def test_twelve_steps_give_images_with_background_and_strokes(digits) -> None:
    images = digits.sample(8, sampler="dpm_solver_sde", steps=12)
    levels = digits.to_uint8(images)
    assert images.shape == (8, 1, 8, 8) and images.min() > -0.3 and images.max() < 1.3
    # Dark background and bright strokes, unlike uniform gray or noise.
    assert (levels < 32).float().mean() > 0.25 and (levels > 160).float().mean() > 0.1
