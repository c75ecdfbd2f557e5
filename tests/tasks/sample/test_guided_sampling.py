"""sample.py with guidance by labels and classifiers, interpolation and temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from src.checkpoint import read_checkpoint, restore_classifier
from src.errors import UserError
from tests.tasks.example import IMAGES, load, sample, write_checkpoint

COMMON = ("accelerator=cpu", "devices=1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "score.ckpt", *IMAGES, scale=0.5)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of an untrained noisy classifier."""
    path = tmp_path_factory.mktemp("run") / "step00000007.ckpt"
    return write_checkpoint(path, "experiment=digits_classifier", "classifier@model=conv", "model.net.nf=8")


def test_a_classifier_file_replaced_while_reading_is_refused(
    checkpoint: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.tasks.sample.guidance.checkpoint_hash", lambda _: "hash of the earlier file")
    guidance = ("guidance=classifier", f"guidance.classifier_path={classifier}")
    with pytest.raises(UserError, match=f"{classifier.name} changed while it was read"):
        sample(f"ckpt_path={checkpoint}", *guidance, f"output_dir={tmp_path}/out")


def test_classifier_guidance_raises_the_probability_of_the_class(
    checkpoint: Path, classifier: Path, tmp_path: Path
) -> None:
    common = (f"ckpt_path={checkpoint}", "num_samples=6", "raw=true", "labels=[3,7]", "sampler=heun", *COMMON)
    model = restore_classifier(read_checkpoint(classifier))
    t = torch.tensor(0.3, dtype=torch.float64)
    labels = torch.tensor([3, 7] * 3)
    reached = []
    for scale in (0, 200):
        sample(
            *common,
            "guidance=classifier",
            f"guidance.classifier_path={classifier}",
            f"guidance.scale={scale}",
            f"output_dir={tmp_path}/{scale}",
        )
        x = torch.from_numpy(np.load(tmp_path / str(scale) / "raw.npz")["samples"]).movedim(-1, 1)
        reached.append(float(model.log_prob(x, t, labels).mean().detach()))
    assert reached[1] > reached[0] + 0.2
    other = write_checkpoint(tmp_path / "other.ckpt", "experiment=digits_classifier", "sde.sigma_max=3")
    with pytest.raises(UserError, match="they must be the same"):
        sample(*common, "guidance=classifier", f"guidance.classifier_path={other}", f"output_dir={tmp_path}/other")


def test_interpolation_is_smooth_and_temperature_changes_samples(checkpoint: Path, tmp_path: Path) -> None:
    common = (f"ckpt_path={checkpoint}", "raw=true", "sampler=heun", "num_samples=4", *COMMON)
    for name, change in {
        "plain": (),
        "cool": ("temperature=0.5",),
        "path": ("interpolate=[0,3,5]",),
        "path in parts": ("interpolate=[0,3,5]", "batch_size=2"),
    }.items():
        sample(*common, *change, f"output_dir={tmp_path}/{name}")
    plain, cool, path, parts = (
        np.load(tmp_path / name / "raw.npz")["samples"] for name in ("plain", "cool", "path", "path in parts")
    )
    np.testing.assert_allclose(path[[0, 4]], plain[[0, 3]], atol=1e-3)
    np.testing.assert_allclose(path, parts, atol=1e-3)
    moved = np.abs(np.diff(path, axis=0)).mean(axis=(1, 2, 3))
    assert moved.max() < np.abs(path[0] - path[4]).mean()
    assert np.abs(cool - plain).max() > 1e-2


def test_labels_and_classifier_free_guidance_change_the_samples(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "classes.ckpt", *IMAGES, "net.num_classes=10")
    common = (f"ckpt_path={path}", "num_samples=4", "raw=true", *COMMON)
    made = {}
    for name, change in {
        "cycle": (),
        "list": ("labels=[0,1,2,3]",),
        "none": ("labels=none",),
        "one": ("guidance=classifier_free", "guidance.scale=1"),
        "zero": ("guidance=classifier_free", "guidance.scale=0"),
    }.items():
        sample(*common, *change, f"output_dir={tmp_path}/{name}")
        made[name] = np.load(tmp_path / name / "raw.npz")["samples"]
    assert np.array_equal(made["cycle"], made["list"])
    assert np.abs(made["cycle"] - made["none"]).max() > 1e-4
    np.testing.assert_allclose(made["one"], made["cycle"], atol=1e-3)
    np.testing.assert_allclose(made["zero"], made["none"], atol=1e-3)
    assert load(tmp_path / "one" / "manifest.json")["nfe"]["mean"] == 16
