"""One of two ranks is killed: the other also ends and says how to resume."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.reliability.support.entry import Started, start_ranks
from tests.reliability.support.runs import TINY, in_folder
from tests.tasks.example import IMAGES, write_checkpoint
from tests.tasks.sample.test_sampling import assert_same_images, load, pixels

COUNT = 24


@pytest.mark.timeout(300)
def test_samples_of_a_killed_rank_are_made_by_the_next_run(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run" / "step00000007.ckpt", *IMAGES, scale=0.5)
    common = [
        "sample.py",
        f"ckpt_path='{checkpoint}'",
        f"num_samples={COUNT}",
        "batch_size=2",
        "accelerator=cpu",
        "sampler.grid.steps=40",
    ]
    whole = Started([*common, "devices=1", f"output_dir={tmp_path}/whole"], tmp_path / "logs").wait()
    assert whole.code == 0, whole.err

    folder = tmp_path / "two"
    ranks = start_ranks([*common, "devices=2", f"output_dir={folder}"], tmp_path)
    waited = time.monotonic() + 120
    while len(list((folder / "images").glob("*.png"))) < 4 and time.monotonic() < waited:
        assert all(rank.alive() for rank in ranks), [rank.err for rank in ranks]
        time.sleep(0.02)
    ranks[1].process.kill()
    survivor = ranks[0].wait(120)
    assert survivor.code not in (0, None)
    assert len(survivor.error_lines) == 1 and "Traceback" not in survivor.err, survivor.err
    finished = len(list((folder / "images").glob("*.png")))
    assert 4 <= finished < COUNT
    assert load(folder / "manifest.json")["status"] != "complete"

    again = Started([*common, "devices=1", f"output_dir={folder}"], tmp_path / "again").wait()
    assert again.code == 0, again.err
    assert load(folder / "manifest.json")["status"] == "complete"
    assert_same_images(pixels(tmp_path / "whole"), pixels(folder))


@pytest.mark.timeout(300)
def test_the_surviving_training_rank_names_the_checkpoint_to_resume_from(tmp_path: Path) -> None:
    few = ["callbacks=minimal", "callbacks.last_checkpoint.every_n_steps=10", "trainer.max_steps=100000"]
    ranks = start_ranks(["train.py", *TINY, *few, "trainer=ddp_sim", *in_folder(tmp_path)], tmp_path)
    try:
        waited = time.monotonic() + 200
        while " step 12 of" not in ranks[0].out:
            assert all(rank.alive() for rank in ranks) and time.monotonic() < waited, [rank.err for rank in ranks]
            time.sleep(0.02)
        # Rank 0, which chose the run folder.
        ranks[0].process.kill()
        survivor = ranks[1].wait(120)
    finally:
        for rank in ranks:
            rank.process.kill()
    (line,) = survivor.error_lines
    newest = max((tmp_path / "logs").rglob("step*.ckpt"))
    step = int(newest.stem.removeprefix("step"))
    assert survivor.code == 1 and "Traceback" not in survivor.err, survivor.err
    assert re.search(rf"steps after {step} are lost: resume from {re.escape(str(newest))} with ckpt_path=last$", line)
