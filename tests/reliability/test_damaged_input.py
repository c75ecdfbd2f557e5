"""Files that are damaged, foreign or hostile: one line that names the file and says what to do, and nothing runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


class _Payload:
    """Unpickled without care, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def truncated(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def empty(good: Path, bad: Path) -> None:
    bad.touch()


def bit_flipped(good: Path, bad: Path) -> None:
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)


def text(good: Path, bad: Path) -> None:
    bad.write_text("these are no weights\n" * 100)


def other_archive(good: Path, bad: Path) -> None:
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def plain_pickle_with_code(good: Path, bad: Path) -> None:
    bad.write_bytes(pickle.dumps({"state_dict": _Payload(bad.with_suffix(".ran"))}))


def archive_with_code(good: Path, bad: Path) -> None:
    content = torch.load(good, weights_only=True)
    torch.save({**content, "callbacks": _Payload(bad.with_suffix(".ran"))}, bad)


def other_program(good: Path, bad: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(3)}, "epoch": 3}, bad)


def only_a_tensor(good: Path, bad: Path) -> None:
    torch.save(torch.zeros(3), bad)


def older_version(good: Path, bad: Path) -> None:
    content = torch.load(good, weights_only=True)
    del content["config"]
    torch.save(content, bad)


def without_counters(good: Path, bad: Path) -> None:
    content = torch.load(good, weights_only=True)
    del content["loops"], content["optimizer_states"]
    torch.save(content, bad)


def without_averages(good: Path, bad: Path) -> None:
    content = torch.load(good, weights_only=True)
    del content["ema"]
    torch.save(content, bad)


def hostile_config(good: Path, bad: Path) -> None:
    content = torch.load(good, weights_only=True)
    content["config"]["model"]["net"] = {"_target_": "os.system", "command": f"touch {bad.with_suffix('.ran')}"}
    torch.save(content, bad)


DAMAGES = [truncated, empty, bit_flipped, text, other_archive, plain_pickle_with_code, archive_with_code]
FOREIGN = [other_program, only_a_tensor, older_version]


@pytest.mark.parametrize("damage", [*DAMAGES, *FOREIGN, without_counters, without_averages])
def test_training_refuses(damage: Callable[[Path, Path], None], good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.ckpt"
    damage(good, bad)
    line = refusal(call(["train.py", *SHORT, *in_folder(tmp_path), f"ckpt_path={bad}"]))
    assert str(bad) in line
    assert not bad.with_suffix(".ran").exists(), "the file ran code"


@pytest.mark.parametrize("damage", [*DAMAGES, *FOREIGN, without_averages, hostile_config])
def test_sampling_refuses(damage: Callable[[Path, Path], None], good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.ckpt"
    damage(good, bad)
    line = refusal(call(["sample.py", f"ckpt_path={bad}", "num_samples=2", f"output_dir={tmp_path}/samples"]))
    assert str(bad) in line or "checkpoint" in line
    assert not bad.with_suffix(".ran").exists(), "the file ran code"


def test_training_refuses_a_checkpoint_of_another_net(good: Path, tmp_path: Path) -> None:
    line = refusal(call(["train.py", *SHORT, *in_folder(tmp_path), "net.nf=16", f"ckpt_path='{good}'"]))
    assert str(good) in line and "another training" in line and "net.nf" in line


@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_a_checkpoint_that_is_not_there(script: str, tmp_path: Path) -> None:
    arguments = [*SHORT, *in_folder(tmp_path)] if script == "train.py" else [f"paths.log_dir={tmp_path}/logs"]
    assert "nowhere.ckpt" in refusal(call([script, *arguments, "ckpt_path=nowhere.ckpt"]))
    assert str(tmp_path) in refusal(call([script, *arguments, "ckpt_path=last"]))


def test_last_passes_over_damaged_checkpoints_and_says_so(run: Path, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "digits" / "2030-01-01_00-00-00" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step00000002.ckpt").write_bytes((good.parent / "step00000002.ckpt").read_bytes())
    truncated(good, folder / "step00000004.ckpt")
    ended = train(*SHORT, *in_folder(tmp_path), "ckpt_path=last", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "step00000004.ckpt" in ended.out and "passed over" in ended.out


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", {"mu": np.zeros(64)}, {"mu": np.zeros(5), "sigma": np.eye(5)}, {"mu": np.array([_Payload])}],
    ids=["empty", "text", "no covariance", "other size", "objects"],
)
def test_reference_statistics(content: bytes | dict[str, Any], tmp_path: Path) -> None:
    bad = tmp_path / "statistics.npz"
    bad.write_bytes(content) if isinstance(content, bytes) else np.savez(bad, **content)
    settings = [f"metric.statistics_path={bad}", "callbacks.fid.num_samples=64"]
    assert str(bad) in refusal(call(["train.py", *TINY, *in_folder(tmp_path), *settings]))


def test_a_damaged_cache_is_computed_anew(tmp_path: Path) -> None:
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


def no_folder(folder: Path) -> str:
    return "folder"


def no_images(folder: Path) -> str:
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    return "folder"


def broken_image(folder: Path) -> str:
    for i in range(40):
        picture(folder / f"{i}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:40])
    return "3.png"


def not_an_image(folder: Path) -> str:
    for i in range(40):
        picture(folder / f"{i}.png")
    (folder / "5.png").write_text("no image")
    return "5.png"


def a_single_image(folder: Path) -> str:
    picture(folder / "0.png")
    return "1"


@pytest.mark.parametrize("make", [no_folder, no_images, broken_image, not_an_image, a_single_image])
def test_image_folders(make: Callable[[Path], str], tmp_path: Path) -> None:
    named = make(tmp_path / "folder")
    data = ["datamodule=image_folder", f"datamodule.path={tmp_path}/folder", "datamodule.image_size=8"]
    settings = [*data, "callbacks=minimal", "datamodule.limit=null", f"datamodule.data_dir={tmp_path}/data"]
    assert named in refusal(call(["train.py", *TINY, *in_folder(tmp_path), *settings]))


def test_images_of_mixed_sizes_are_brought_to_one(tmp_path: Path) -> None:
    for i in range(40):
        picture(tmp_path / "folder" / f"{i}.png", size=8 + i % 5)
    data = ["datamodule=image_folder", f"datamodule.path={tmp_path}/folder", "datamodule.image_size=8"]
    settings = [*data, "callbacks=minimal", "datamodule.limit=null", f"datamodule.data_dir={tmp_path}/data"]
    ended = train(*TINY, *in_folder(tmp_path), *settings, "trainer.max_steps=1", folder=tmp_path)
    assert ended.code == 0, ended.err
