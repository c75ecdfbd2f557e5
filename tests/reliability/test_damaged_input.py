"""Damaged files that a command can recover from, and checkpoints that do not fit; see also ``hostile``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reliability.support.entry import train
from tests.reliability.support.in_process import call, refusal
from tests.reliability.support.runs import TINY, in_folder, only_run

SHORT = (*TINY, "trainer.max_steps=4", "callbacks=minimal", "callbacks.last_checkpoint.every_n_steps=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    ended = train(*SHORT, *in_folder(folder), folder=folder)
    assert ended.code == 0, ended.err
    return only_run(folder)


@pytest.fixture
def good(run: Path) -> Path:
    return run / "checkpoints" / "step00000004.ckpt"


def truncated(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def test_training_refuses_a_checkpoint_of_another_net(good: Path, tmp_path: Path) -> None:
    line = refusal(call(["train.py", *SHORT, *in_folder(tmp_path), "net.nf=16", f"ckpt_path='{good}'"]))
    assert str(good) in line and "has other settings" in line and "net.nf" in line


@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_a_missing_checkpoint_gives_one_line(script: str, tmp_path: Path) -> None:
    arguments = [*SHORT, *in_folder(tmp_path)] if script == "train.py" else [f"paths.log_dir={tmp_path}/logs"]
    assert "nowhere.ckpt" in refusal(call([script, *arguments, "ckpt_path=nowhere.ckpt"]))
    assert str(tmp_path) in refusal(call([script, *arguments, "ckpt_path=last"]))


def test_last_skips_damaged_checkpoints_with_a_warning(run: Path, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "digits" / "2030-01-01_00-00-00" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step00000002.ckpt").write_bytes((good.parent / "step00000002.ckpt").read_bytes())
    truncated(good, folder / "step00000004.ckpt")
    ended = train(*SHORT, *in_folder(tmp_path), "ckpt_path=last", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "step00000004.ckpt" in ended.out and "skipped" in ended.out


def test_a_damaged_cache_is_recomputed(tmp_path: Path) -> None:
    settings = [*TINY, "trainer.max_steps=1", "callbacks.fid.num_samples=16", *in_folder(tmp_path)]
    assert train(*settings, folder=tmp_path).code == 0
    (cached,) = (tmp_path / "cache").glob("*.npz")
    expected = dict(np.load(cached))
    cached.write_bytes(cached.read_bytes()[:-50])
    ended = train(*settings, folder=tmp_path)
    assert ended.code == 0 and str(cached) in ended.out
    assert all(np.array_equal(value, expected[name]) for name, value in np.load(cached).items())


def picture(path: Path, size: int = 8, color: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (color, color, color)).save(path)


def test_images_of_mixed_sizes_are_resized(tmp_path: Path) -> None:
    for i in range(40):
        picture(tmp_path / "folder" / f"{i}.png", size=8 + i % 5)
    data = ["datamodule=image_folder", f"datamodule.path={tmp_path}/folder", "datamodule.image_size=8"]
    settings = [*data, "callbacks=minimal", "datamodule.limit=null", f"datamodule.data_dir={tmp_path}/data"]
    ended = train(*TINY, *in_folder(tmp_path), *settings, "trainer.max_steps=1", folder=tmp_path)
    assert ended.code == 0, ended.err
