import errno
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from src.checkpoint import AtomicCheckpointIO
from src.checkpoint.io import tensor_bytes
from src.checkpoint.read import load_archive
from src.errors import UserError


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child and return its process id; the child must not create tensors."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_save_and_load(tmp_path: Path) -> None:
    content = {"global_step": 5, "w": torch.arange(6.0).view(2, 3), "config": {"a": [1, None, "x"]}}
    io = AtomicCheckpointIO()
    io.save_checkpoint(content, tmp_path / "new" / "a.ckpt")
    loaded = io.load_checkpoint(tmp_path / "new" / "a.ckpt")
    assert torch.equal(loaded.pop("w"), content.pop("w"))
    assert loaded == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.ckpt"]


def test_a_kill_during_writing_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    weights = torch.ones(4_000_000)
    AtomicCheckpointIO().save_checkpoint({"global_step": 0, "w": weights}, target)

    def save_forever() -> None:
        io, step = AtomicCheckpointIO(), 0
        while True:
            step += 1
            io.save_checkpoint({"global_step": step, "w": weights}, target)

    interrupted = 0
    # Delays spread over the time of a few checkpoints.
    for delay in (0.0, 0.007, 0.015, 0.03, 0.05, 0.08):
        pid = in_child(save_forever)
        partial = tmp_path / f".last.ckpt.{pid}.tmp"
        wait_for(lambda partial=partial: size(partial) > 1_000_000)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        interrupted += partial.exists()
        assert torch.equal(load_archive(target)["w"], weights)
    assert interrupted > 0
    AtomicCheckpointIO().save_checkpoint({"global_step": 9}, tmp_path / "step=9.ckpt")
    assert not list(tmp_path.glob(".*"))
    load_archive(target)


def test_a_failed_write_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    io = AtomicCheckpointIO()
    io.save_checkpoint({"global_step": 1}, tmp_path / "step=1.ckpt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A real failure of write(2) in the middle of the file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"File too large.*last good checkpoint is .*step=1\.ckpt") as caught:
            io.save_checkpoint({"w": torch.zeros(1_000_000)}, tmp_path / "step=2.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step=1.ckpt"]
    assert load_archive(tmp_path / "step=1.ckpt") == {"global_step": 1}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_operating_system_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, tmp_path / "last.ckpt")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    # A new object: the last good checkpoint is found in the folder.
    with pytest.raises(UserError, match=r"the last good checkpoint is .*last\.ckpt"):
        AtomicCheckpointIO().save_checkpoint({"global_step": 2}, tmp_path / "last.ckpt")
    assert load_archive(tmp_path / "last.ckpt") == {"global_step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_programming_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle|local object"):
        AtomicCheckpointIO().save_checkpoint({"f": lambda: None}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    io = AtomicCheckpointIO()
    with pytest.raises(UserError, match=r"it needs 4\.0 MB.*there is no earlier checkpoint"):
        io.save_checkpoint({"w": torch.zeros(1_000_000)}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())
    io.save_checkpoint({"w": torch.zeros(999_000)}, tmp_path / "a.ckpt")


def test_the_estimate_counts_shared_storage_once() -> None:
    w = torch.zeros(1000)
    assert tensor_bytes({"a": w, "b": [w.view(10, 100), (torch.zeros(5, dtype=torch.int64),)], "c": 3}) == 4040


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_saving_makes_no_second_copy_in_memory(tmp_path: Path) -> None:
    content = {"w": [torch.ones(8_000_000) for _ in range(4)]}

    def grows_little() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        AtomicCheckpointIO().save_checkpoint(content, tmp_path / "a.ckpt")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        (tmp_path / "grown").write_text(str(grown))

    _, status = os.waitpid(in_child(grows_little), 0)
    assert status == 0
    # 128 MB were written.
    assert int((tmp_path / "grown").read_text()) < 64_000


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Watched(AtomicCheckpointIO):
    """Record which other checkpoints are complete when one is removed."""

    def __init__(self) -> None:
        super().__init__()
        self.survivors: list[list[str]] = []

    def remove_checkpoint(self, path: Any) -> None:
        others = [other for other in Path(path).parent.glob("*.ckpt") if other != Path(path)]
        for other in others:
            load_archive(other)
        self.survivors.append([other.name for other in others])
        super().remove_checkpoint(path)


def fit(folder: Path, steps: int, io: AtomicCheckpointIO, resume: Path | None = None) -> Line:
    torch.manual_seed(0)
    module = Line()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[io],
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=1, monitor="step", mode="max")],
    )
    trainer.fit(module, DataLoader(torch.linspace(-1, 1, 8).view(8, 1), batch_size=8), ckpt_path=resume)
    return module


@pytest.mark.filterwarnings("ignore")
def test_lightning_removes_old_checkpoints_after_writing_and_resumes(tmp_path: Path) -> None:
    io = Watched()
    whole = fit(tmp_path / "whole", 4, io)
    assert io.survivors == [["step=2.ckpt"], ["step=3.ckpt"], ["step=4.ckpt"]]
    fit(tmp_path / "parts", 2, AtomicCheckpointIO())
    resumed = fit(tmp_path / "parts", 4, AtomicCheckpointIO(), resume=tmp_path / "parts" / "step=2.ckpt")
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    with pytest.raises(UserError, match="does not exist"):
        fit(tmp_path / "parts", 4, AtomicCheckpointIO(), resume=tmp_path / "parts" / "step=7.ckpt")
