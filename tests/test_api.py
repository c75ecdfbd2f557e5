"""The Python API: the same images as sample.py, encode and decode, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src import load
from src.api import LoadedModel, arguments
from src.errors import UserError
from src.noise import uniform
from tests.tasks.example import IMAGES, sample, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoints/step=00000007.ckpt", *IMAGES)


@pytest.fixture(scope="module")
def model(checkpoint) -> LoadedModel:
    return load(checkpoint)


def test_images_equal_those_of_sample_py(checkpoint, model, tmp_path: Path) -> None:
    settings = [f"ckpt_path='{checkpoint}'", f"output_dir={tmp_path}", "num_samples=5", "seed=3", "sampler=heun"]
    sample(*settings, "sampler.grid.steps=3", "accelerator=cpu")
    images = model.sample(5, seed=3, sampler="heun", steps=3, batch_size=2)
    written = [np.array(Image.open(path)) for path in sorted(tmp_path.rglob("images/**/*.png"))]
    assert len(written) == 5
    for mine, theirs in zip(model.to_pil(images), written, strict=True):
        assert np.array_equal(np.array(mine), theirs)
    assert not torch.equal(images, model.sample(5, seed=4, sampler="heun", steps=3))


def test_times_may_be_numbers_and_denoise_follows_tweedie(model) -> None:
    x = torch.randn(2, *model.shape)
    t = torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(model.score(x, 0.5), model.score(x, t))
    expected = (x + model.sde.sigma(t) ** 2 * model.score(x, t)) / model.sde.alpha(t)
    torch.testing.assert_close(model.denoise(x, 0.5), expected.float())


def test_a_model_says_what_it_is(model) -> None:
    assert repr(model) == "LoadedModel(NCSNpp, VESDE, (1, 8, 8) in unit range)"


def test_decode_inverts_encode(model) -> None:
    x = uniform(0, "data", 0, torch.arange(2), model.shape)
    torch.testing.assert_close(model.decode(model.encode(x)), x, atol=2e-2, rtol=0)


def test_likelihoods_of_bytes_and_floats_agree(model) -> None:
    levels = torch.randint(0, 256, (2, *model.shape), dtype=torch.uint8)
    of_bytes = model.log_likelihood(levels, seed=1)
    assert torch.equal(of_bytes.bits_per_dim, model.log_likelihood(levels / 255, seed=1).bits_per_dim)
    assert of_bytes.bits_per_dim.isfinite().all()


X = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample(2, sampler="huen"), "there is no sampler huen, did you mean heun"),
        (lambda m: m.sample(2, sampler="../metric/digits"), "there is no sampler"),
        (lambda m: m.sample(2, sampler="ode", steps=3), "adaptive steps"),
        (lambda m: m.sample(2, steps=0), "steps=0: give a whole number"),
        (lambda m: m.sample(0), "n=0"),
        (lambda m: m.sample(2, batch_size=0), "batch_size=0"),
        (lambda m: m.sample(2, labels=1), "labels=1"),
        (lambda m: m.score(X, 0.5, labels=1), "no classes"),
        (lambda m: m.score(X, 0.5, labels=[0, 1, 2]), "one for each of 2 samples"),
        (lambda m: m.score(X, torch.rand(3)), "one for each of 2 samples"),
        (lambda m: m.score(X, 0.0), r"t=0.0: give times in \(0, 1\]"),
        (lambda m: m.score(X, float("nan")), "t=nan"),
        (lambda m: arguments.as_tensor("t", None, None), "t=None: give a tensor of numbers"),
        (lambda m: m.denoise(X[:, :, 1:], 0.5), r"shape \(2, 1, 7, 8\) do not fit this model: give \(B, 1, 8, 8\)"),
        (lambda m: m.denoise(X.byte(), 0.5), "give floats, images in"),
        (lambda m: m.log_likelihood(X[0]), "give"),
        (lambda m: m.log_likelihood(X, likelihood="exakt"), "did you mean exact"),
        (lambda m: m.decode(X[0]), "give"),
        (lambda m: m.to_uint8(torch.zeros(8, 8)), "give"),
        (lambda m: m.to_pil(X.byte()), "give floats"),
        (lambda m: m.to_pil(torch.zeros(2, 2, 8, 8)), "1 or 3 channels"),
        (lambda m: m.to("tpu"), "device='tpu' cannot be used: give cpu"),
        (lambda m: load("nowhere"), r"load\('nowhere'\): .* pass a checkpoint, a run folder, \"digits\""),
        (lambda m: load("digit"), "did you mean digits"),
        (lambda m: load(""), r"load\(''\)"),
        (lambda m: load("digits", weights="raw"), "choose weights=ema"),
    ],
)
def test_invalid_arguments_are_refused(model, call, message) -> None:
    with pytest.raises(UserError, match=message):
        call(model)
