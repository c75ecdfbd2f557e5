"""sample.py as a command: images do not depend on how they are computed; folders resume or refuse other settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.checkpoint import read_checkpoint, restore_model
from src.errors import UserError
from src.noise import AddressedNoise
from src.sampling.generation import Generation
from src.sinks.store import SampleStore
from tests.reliability.support.entry import start_ranks
from tests.tasks.example import IMAGES, POINTS, load, run_script, sample, write_checkpoint

COMMON = ("accelerator=cpu", "devices=1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoints" / "step00000007.ckpt", *IMAGES, scale=0.5)


def pixels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "images").glob("*.png"))])


def assert_same_images(a: np.ndarray, b: np.ndarray) -> None:
    """Assert equality up to rounding, which may differ between batch sizes."""
    assert a.shape == b.shape
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


def test_images_do_not_depend_on_batch_size_or_processes(checkpoint: Path, tmp_path: Path) -> None:
    common = (f"ckpt_path={checkpoint}", "num_samples=30", "accelerator=cpu")
    sample(*common, "devices=1", "batch_size=7", f"output_dir={tmp_path}/seven")
    sample(*common, "devices=1", "batch_size=100", f"output_dir={tmp_path}/hundred")
    two = ["sample.py", *common, "devices=2", "batch_size=4", f"output_dir={tmp_path}/two"]
    for rank in start_ranks(two, tmp_path):
        ended = rank.wait()
        assert ended.code == 0, ended.err
    seven = pixels(tmp_path / "seven")
    assert len(seven) == 30
    assert len(np.unique(seven.reshape(30, -1), axis=0)) == 30, "all samples must differ"
    assert_same_images(seven, pixels(tmp_path / "hundred"))
    assert_same_images(seven, pixels(tmp_path / "two"))
    manifest = load(tmp_path / "two" / "manifest.json")
    assert manifest["status"] == "complete"
    assert manifest["nfe"] == {"mean": 8.0, "least": 8, "most": 8}


@pytest.mark.slow
def test_the_command_starts_its_second_process(checkpoint: Path, tmp_path: Path) -> None:
    common = (f"ckpt_path={checkpoint}", "num_samples=30", "accelerator=cpu")
    sample(*common, "devices=1", f"output_dir={tmp_path}/one")
    done = run_script(*common, "devices=2", "batch_size=4", f"output_dir={tmp_path}/two")
    assert done.returncode == 0, done.stderr
    assert_same_images(pixels(tmp_path / "one"), pixels(tmp_path / "two"))


def test_images_equal_the_sampler_with_averaged_weights(checkpoint: Path, tmp_path: Path) -> None:
    sample(f"ckpt_path={checkpoint}", "num_samples=3", "seed=5", f"output_dir={tmp_path}/out", *COMMON)
    from hydra.utils import instantiate

    content = read_checkpoint(checkpoint)
    model = restore_model(content, "ema")
    noise = AddressedNoise(5, torch.arange(3))
    x = model.sde.prior_sample(noise("prior", 0, torch.empty(3, 1, 8, 8)))
    expected = instantiate(content["config"]["sampler"], _convert_="all")(model, x, noise).samples
    expected = (expected.clamp(0, 1) * 255).round().to(torch.uint8)
    assert_same_images(pixels(tmp_path / "out"), expected[:, 0].numpy())


def test_an_interrupted_run_makes_only_the_missing_samples(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=12", *COMMON)
    sample(*arguments, f"output_dir={tmp_path}/whole")
    kept = SampleStore.add

    def dies_at_the_third_batch(self, batch) -> None:
        if 8 in batch.index:
            raise KeyboardInterrupt
        kept(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "add", dies_at_the_third_batch)
        with pytest.raises(KeyboardInterrupt):
            sample(*arguments, "batch_size=4", f"output_dir={tmp_path}/out")
    assert len(pixels(tmp_path / "out")) == 8
    assert load(tmp_path / "out" / "manifest.json")["status"] == "running"
    (tmp_path / "out" / "images" / "000002.png").unlink()

    made: list[int] = []
    monkeypatch.setattr(
        SampleStore, "add", lambda self, batch: (made.extend(batch.index.tolist()), kept(self, batch))[1]
    )
    sample(*arguments, "batch_size=3", f"output_dir={tmp_path}/out")
    assert made == [2, 8, 9, 10, 11]
    assert_same_images(pixels(tmp_path / "out"), pixels(tmp_path / "whole"))
    made.clear()
    sample(*arguments, f"output_dir={tmp_path}/out")
    assert made == []
    sample(*arguments[:1], "num_samples=14", *COMMON, f"output_dir={tmp_path}/out")
    assert made == [12, 13]


def test_other_settings_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=2", f"output_dir={tmp_path}/out", *COMMON)
    sample(*arguments)
    with pytest.raises(UserError, match=r"sampler\.grid\.steps is 4 in the folder and 5 now"):
        sample(*arguments, "sampler.grid.steps=5")
    with pytest.raises(UserError, match='weights is "ema" in the folder and "raw" now'):
        sample(*arguments, "weights=raw")


def test_the_default_folder_depends_on_run_and_settings(checkpoint: Path) -> None:
    home = checkpoint.parent.parent / "samples"
    for _ in range(2):
        sample(f"ckpt_path={checkpoint}", "num_samples=1", *COMMON)
    sample(f"ckpt_path={checkpoint}", "num_samples=1", "sampler=heun", "sampler.grid.steps=3", *COMMON)
    steps = [load(path)["settings"]["sampler"]["grid"]["steps"] for path in home.glob("*/manifest.json")]
    assert sorted(steps) == [3, 4]
    names = sorted(path.name for path in home.iterdir())
    assert "-heun-3steps-seed0-" in names[0] and "-predictorcorrector-4steps-seed0-" in names[1]


def test_fewer_samples_and_a_film_of_finished_samples(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (f"ckpt_path={checkpoint}", f"output_dir={out}", *COMMON)
    sample(*arguments, "num_samples=6", "metrics=[frechet]", "metric=pixel")
    (whole,) = load(out / "metrics.json")["results"]
    before = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    sample(*arguments, "num_samples=4", "metrics=[frechet]", "metric=pixel", "trajectory=true")
    first, part = load(out / "metrics.json")["results"]
    assert first == whole and part["subject"]["num_samples"] == 4 and part["values"] != whole["values"]
    assert (out / "trajectory.gif").exists() and load(out / "manifest.json")["num_samples"] == 6
    assert before == {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}


def test_raw_weights_seed_and_steps_change_the_images(checkpoint: Path, tmp_path: Path) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=4", "raw=true", *COMMON)
    changes = {"own": (), "raw": ("weights=raw",), "seed": ("seed=1",), "steps": ("sampler.grid.steps=5",)}
    made = {}
    for name, change in changes.items():
        sample(*arguments, *change, f"output_dir={tmp_path}/{name}")
        made[name] = np.load(tmp_path / name / "raw.npz")["samples"]
    for name in ("raw", "seed", "steps"):
        assert np.abs(made["own"] - made[name]).max() > 1e-3, name


def test_npz_raw_values_and_quantization(checkpoint: Path, tmp_path: Path) -> None:
    arguments = (f"ckpt_path={checkpoint}", "num_samples=9", "batch_size=4", "raw=true", *COMMON)
    for mode in ("round", "truncate"):
        sample(*arguments, "format=npz", f"quantize={mode}", f"output_dir={tmp_path}/{mode}")
        folder = tmp_path / mode
        levels = np.load(folder / "raw.npz")["samples"].clip(0, 1) * np.float32(255)
        expected = np.floor(levels + (0.5 if mode == "round" else 0))
        assert np.array_equal(np.load(folder / "samples.npz")["samples"], expected.astype(np.uint8))
        assert sorted(path.name for path in folder.glob("*.npz")) == ["raw.npz", "samples.npz"]


def test_scores_are_recorded_with_their_conditions(checkpoint: Path, tmp_path: Path) -> None:
    value = sample(
        f"ckpt_path={checkpoint}",
        "num_samples=8",
        "metrics=[frechet]",
        f"metric.cache_dir={tmp_path}/cache",
        f"output_dir={tmp_path}/out",
        "trajectory=true",
        *COMMON,
    )
    written = load(tmp_path / "out" / "metrics.json")
    assert written["version"] == 1
    (scores,) = written["results"]
    assert scores["values"] == {"frechet_digits": value}
    assert scores["conditions"]["samples"] == 8
    assert scores["conditions"]["reference"] == "digits all"
    assert scores["conditions"]["quantization"] == "round"
    assert scores["conditions"]["nfe"] == 8
    with Image.open(tmp_path / "out" / "trajectory.gif") as film:
        assert film.n_frames == 4
    with Image.open(tmp_path / "out" / "grid.png") as grid:
        assert grid.size == (3 * 66 + 2, 3 * 66 + 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("num_samples=1", "score=true"), "need at least 4"),
        (("metrics=[fid]",), "there is no metric fid; choose from frechet"),
        (("labels=1",), "trained without classes"),
        (("guidance=classifier_free",), "trained without classes"),
        (("quantize=floor",), "quantize=floor"),
        (("batch_size=0",), "batch_size=0"),
        (("guidance=classifier",), "classifier_path is missing"),
        (("precision=32",), "precision=32"),
        (("weights=ema:fast",), "no average 'fast'"),
    ],
)
def test_invalid_settings_give_one_line_before_devices_start(
    arguments: tuple[str, ...], message: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.tasks.devices.Fabric", lambda **_: pytest.fail("too late"))
    with pytest.raises(UserError, match=message) as caught:
        sample(f"ckpt_path={checkpoint}", f"output_dir={tmp_path}/out", *arguments, *COMMON)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("precision=16", "precision=16: choose one of 32-true"),
        ("format=jpg", "format=jpg: choose one of auto, png, npz, npy, tiff"),
        ("num_samples=0", "num_samples=0: give a whole number of at least 1"),
        ("interpolate=[0,1,0]", "num_samples=0"),
        ("weights=1", "weights=1 is unknown: choose ema"),
        ("given_count=abc", "given_count='abc': give a whole number"),
    ],
)
def test_invalid_settings_are_refused_before_the_checkpoint_is_read(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        sample("ckpt_path=nowhere.ckpt", argument, *COMMON)


def test_a_numeric_folder_and_a_manifest_left_running(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (f"ckpt_path={checkpoint}", "num_samples=2", "output_dir=2024", *COMMON)
    sample(*arguments)
    # As after a kill when all samples were made.
    manifest = load(tmp_path / "2024" / "manifest.json")
    (tmp_path / "2024" / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    sample(*arguments)
    assert load(tmp_path / "2024" / "manifest.json")["status"] == "complete"


def test_nonfinite_samples_are_reported_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_checkpoint(tmp_path / "model.ckpt", *IMAGES)
    made = Generation.batches

    def poisoned(self, indices, **options):
        for batch in made(self, indices, **options):
            bad = batch.index % 3 == 1
            batch.samples[bad] = torch.nan
            batch.valid[bad] = False
            yield batch

    monkeypatch.setattr(Generation, "batches", poisoned)
    arguments = (f"ckpt_path={path}", "num_samples=6", f"output_dir={tmp_path}/out", *COMMON)
    for _ in range(2):
        with pytest.raises(UserError, match=r"2 of 6 samples diverged or are not finite and were left out \(1, 4\)"):
            sample(*arguments)
    assert len(pixels(tmp_path / "out")) == 4
    assert load(tmp_path / "out" / "manifest.json")["invalid"] == [1, 4]


def test_sampling_points_in_the_plane(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "toy.ckpt", *POINTS)
    sample(f"ckpt_path={path}", "num_samples=10", "batch_size=3", f"output_dir={tmp_path}/out", *COMMON)
    assert np.load(tmp_path / "out" / "samples.npz")["samples"].shape == (10, 2)
    assert (tmp_path / "out" / "grid.png").exists()


def test_the_grid_has_one_column_per_class(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "classes.ckpt", *IMAGES, "net.num_classes=10")
    for labels, count, size in (("[7,2,5]", 8, (3, 3)), ("random", 9, (3, 3)), ("cycle", 12, (10, 2))):
        out = tmp_path / str(count)
        sample(f"ckpt_path={path}", f"num_samples={count}", f"labels={labels}", f"output_dir={out}", *COMMON)
        with Image.open(out / "grid.png") as picture:
            assert picture.size == tuple(66 * side + 2 for side in size)
