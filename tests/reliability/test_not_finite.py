"""Nonfinite values: a bad step is skipped and counted, many in a row end the run, diverged samples are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.reliability.support.entry import train
from tests.reliability.support.in_process import refusal
from tests.reliability.support.runs import TINY, curve, differences, in_folder, only_run

BROKEN = (
    *TINY,
    "callbacks=minimal",
    "optimized_metric=train/loss",
    "callbacks.last_checkpoint.every_n_steps=2",
    "callbacks.last_checkpoint.keep=-1",
    "objective._target_=tests.reliability.support.broken.BrokenObjective",
)


def state(run: Path, step: int) -> dict[str, Any]:
    """Return the state that a step may change: weights, averages, optimizer."""
    content = torch.load(run / "checkpoints" / f"step{step:08d}.ckpt", weights_only=True)
    ema = content["callbacks"]["EMA"]
    return {key: content[key] for key in ("state_dict", "ema")} | {
        "optimizer": [each["state"] for each in content["optimizer_states"]],
        "updates": ema["updates"],
        "skipped": content["skipped_steps"],
    }


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_nonfinite_step_changes_nothing_and_is_counted(gradient: bool, tmp_path: Path) -> None:
    settings = ["trainer.max_steps=8", "+objective.broken_steps=[4,5]", f"+objective.gradient={gradient}"]
    assert train(*BROKEN, *settings, *in_folder(tmp_path), folder=tmp_path).code == 0
    run = only_run(tmp_path)
    before, after, later = (state(run, step) for step in (4, 6, 8))
    assert before.pop("skipped") == {"total": 0, "in_a_row": 0}
    assert after.pop("skipped") == {"total": 2, "in_a_row": 2}
    assert later.pop("skipped") == {"total": 2, "in_a_row": 0}
    assert not differences(before, after)
    assert differences(after, later)
    rows = curve(run)
    assert [rows[step].get("train/skipped_steps") for step in (4, 5, 6, 7)] == [None, "1.0", "2.0", None]


def test_many_skipped_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    settings = ["trainer.max_steps=50", f"+objective.broken_steps={list(range(5, 50))}", "module.max_skipped_steps=3"]
    ended = train(*BROKEN, *[setting.replace(" ", "") for setting in settings], *in_folder(tmp_path), folder=tmp_path)
    line = refusal(ended)
    assert "3 steps in a row" in line
    (checkpoints,) = tmp_path.rglob("checkpoints")
    assert f"the last good checkpoint is {checkpoints / 'step00000006.ckpt'}" in line


def test_diverged_samples_are_black_and_not_scored(tmp_path: Path) -> None:
    settings = [
        "trainer.max_steps=2",
        "sampler._target_=tests.reliability.support.broken.DivergingSampler",
        "callbacks.sample_images.num_images=4",
        "callbacks.sample_images.sampler=${sampler}",
        "callbacks.fid.num_samples=16",
    ]
    ended = train(*TINY, *settings, *in_folder(tmp_path), folder=tmp_path)
    assert ended.code == 0, ended.err
    run = only_run(tmp_path)
    assert "2 of 4 samples diverged" in ended.out
    assert curve(run)[2]["invalid_samples"] == "8.0"
    assert not (run / "checkpoints" / "best_fid.ckpt").exists()
    tiles = np.asarray(Image.open(run / "samples" / "step00000002.png").convert("L"))
    # Two tiles of 64 pixels with a border of 2 pixels.
    corner, other = tiles[2:66, 2:66], tiles[2:66, 68:132]
    assert corner.max() == 0, "a diverged sample must be black"
    assert other.max() > 0
