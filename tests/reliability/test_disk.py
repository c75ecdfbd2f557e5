"""A full disk loses no written file; a read-only disk is reported at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.support.entry import Started, train
from tests.reliability.support.in_process import call, refusal
from tests.reliability.support.runs import TINY
from tests.tasks.example import IMAGES, write_checkpoint

WRITES = (
    *TINY,
    "callbacks=minimal",
    "optimized_metric=train/loss",
    "callbacks.last_checkpoint.every_n_steps=2",
    "callbacks.last_checkpoint.keep=-1",
    "trainer.max_steps=400",
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs permission to mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_keeps_the_last_good_checkpoint(small_disk: Path, tmp_path: Path) -> None:
    line = refusal(train(*WRITES, f"paths.log_dir={small_disk}/logs", folder=tmp_path))
    written = sorted(small_disk.rglob("step*.ckpt"))
    assert len(written) > 1
    assert str(written[-1]) in line, "the message must name the last good checkpoint"
    assert not list(small_disk.rglob("*.tmp"))
    # With free space the run resumes from it.
    for old in written[:-1]:
        old.unlink()
    steps = int(written[-1].stem.removeprefix("step")) + 1
    again = [f"paths.log_dir={small_disk}/logs", "ckpt_path=last", f"trainer.max_steps={steps}"]
    ended = train(*WRITES, *again, folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "taken over" not in ended.err, "the failed run must release its lock"


def test_a_disk_that_fills_during_sampling_loses_no_image(small_disk: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run" / "step00000007.ckpt", *IMAGES)
    folder, filler = small_disk / "out", small_disk / "filler"
    command = [
        "sample.py",
        f"ckpt_path='{checkpoint}'",
        "num_samples=60",
        "batch_size=2",
        "accelerator=cpu",
        "sampler.grid.steps=40",
        f"output_dir={folder}",
    ]
    running = Started(command, tmp_path / "first")
    waited = time.monotonic() + 120
    while len(kept := list((folder / "images").glob("*.png"))) < 4 and time.monotonic() < waited:
        assert running.alive(), running.err
        time.sleep(0.02)
    with pytest.raises(OSError, match="No space left"), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    line = refusal(running.wait())
    assert str(folder) in line and "No space left" in line
    before = {path: path.read_bytes() for path in kept}
    filler.unlink()
    ended = Started(command, tmp_path / "again").wait()
    assert ended.code == 0, ended.err
    assert len(list((folder / "images").glob("*.png"))) == 60
    assert {path: path.read_bytes() for path in kept} == before


def test_a_file_in_place_of_the_log_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(train(*WRITES, f"paths.log_dir={tmp_path}/file", folder=tmp_path))
    assert str(tmp_path / "file") in line and "paths.log_dir" in line


def test_a_read_only_log_folder(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    line = refusal(train(*WRITES, f"paths.log_dir={small_disk}/logs", folder=tmp_path))
    assert str(small_disk) in line and "read-only" in line.lower()


@pytest.mark.parametrize("format", ["ckpt", "safetensors", "hub"])
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_an_export_to_such_a_disk_names_the_target(state: str, format: str, small_disk: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run" / "step00000007.ckpt", *IMAGES)
    if state == "full":
        with pytest.raises(OSError, match="No space left"), (small_disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    line = refusal(call(["src", "export", f"ckpt_path={checkpoint}", f"format={format}", f"output={small_disk}/out"]))
    assert line.startswith(f"{small_disk}/out cannot be written (")
    assert not [path for path in small_disk.iterdir() if path.name != "filler"]
