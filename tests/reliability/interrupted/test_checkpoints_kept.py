"""Which checkpoints are kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

from tests.reliability.support.entry import train
from tests.reliability.support.runs import TINY, in_folder, only_run

KEEP = (*TINY, "trainer.max_steps=11", "callbacks=minimal", "optimized_metric=train/loss")
EVERY_STEP = ("callbacks.last_checkpoint.every_n_steps=1", "callbacks.last_checkpoint.keep=2")


def steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step")) for path in (only_run(folder) / "checkpoints").glob("*.ckpt"))


def test_newest_and_milestones_are_kept_after_a_resume(tmp_path: Path) -> None:
    every_fourth = ["callbacks.milestones.every_n_steps=4"]
    arguments = [*KEEP, *EVERY_STEP, *every_fourth, *in_folder(tmp_path)]
    assert train(*arguments, folder=tmp_path).code == 0
    assert steps(tmp_path) == [4, 8, 10, 11]
    # Both callbacks wrote step 8: a run resumed from it must not delete the milestone as an old checkpoint.
    assert train(*arguments, "ckpt_path=8", folder=tmp_path).code == 0
    assert steps(tmp_path) == [4, 8, 10, 11]


def test_keep_minus_one_keeps_all_checkpoints(tmp_path: Path) -> None:
    settings = ["callbacks.last_checkpoint.every_n_steps=3", "callbacks.last_checkpoint.keep=-1"]
    assert train(*KEEP, *settings, *in_folder(tmp_path), folder=tmp_path).code == 0
    assert steps(tmp_path) == [3, 6, 9, 11]


def test_max_epochs_is_kept_after_resuming_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    # Five steps per epoch.
    settings = [*KEEP, "trainer.max_steps=-1", "trainer.max_epochs=2", "callbacks.last_checkpoint.every_n_steps=5"]
    arguments = [*settings, "callbacks.last_checkpoint.keep=-1", *in_folder(tmp_path)]
    assert train(*arguments, folder=tmp_path).code == 0
    assert steps(tmp_path) == [5, 10]
    ended = train(*arguments, "ckpt_path=5", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert steps(tmp_path) == [5, 10]


def test_a_refused_resume_does_not_change_the_run_folder(tmp_path: Path) -> None:
    arguments = [*KEEP, *in_folder(tmp_path)]
    assert train(*arguments, folder=tmp_path).code == 0
    run = only_run(tmp_path)

    def state(path: Path) -> tuple[int, bytes]:
        # Old versions of filelock touch the lock file.
        return 0 if path.name == ".lock" else path.stat().st_mtime_ns, path.read_bytes()

    before = {path: state(path) for path in run.rglob("*") if path.is_file()}
    for setting in ("net.nf=16", "optimizer.lr=abc"):
        ended = train(*arguments, "ckpt_path=last", setting, folder=tmp_path)
        assert ended.code == 1 and len(ended.error_lines) == 1, ended.err
        assert before == {path: state(path) for path in before}
    # Only the lock file may be new.
    assert {path for path in run.rglob("*") if path.is_file()} - set(before) <= {run / ".lock"}
    assert [folder.name for folder in run.parent.iterdir()] == [run.name]
    (start,) = json.loads((run / "run.json").read_text())["starts"]
    assert start["ended"] == "finished" and start["step"] == 11 and start["seconds"] > 0
    assert {"commit", "versions", "host", "command"} <= start.keys(), start.keys()
