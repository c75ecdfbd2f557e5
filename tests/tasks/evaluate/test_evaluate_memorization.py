"""evaluate.py tells copies of training images from new images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.tasks.evaluation_example import ckpt, digits, evaluate


def test_memorization_finds_planted_copies_and_draws_them(run: Path, tmp_path: Path) -> None:
    named = ["datamodule=digits", "metric=digits", f"metric.cache_dir={run}/statistics", "metrics=[frechet]"]
    planted = torch.cat([digits("test")[:200], digits("train")[:40]])
    np.savez(tmp_path / "planted.npz", arr_0=planted.movedim(1, -1).numpy())
    np.savez(tmp_path / "test.npz", arr_0=digits("test").movedim(1, -1).numpy())
    ask = [*named, "memorization=true"]
    (copied,) = evaluate(f"images={tmp_path}/planted.npz", *ask, f"output_dir={tmp_path}/planted")
    (fresh,) = evaluate(f"images={tmp_path}/test.npz", *ask, f"output_dir={tmp_path}/test")
    for end in ("", "_pixels"):
        assert copied.values[f"memorized_share{end}"] >= 40 / 240 > 0.1 > fresh.values[f"memorized_share{end}"]
        assert fresh.values[f"auth_pct{end}"] == fresh.values[f"auth_pct{end}_of_test_images"]
    assert sum("the net repeats training images, see" in note for note in copied.notes) == 2
    assert sum(note.endswith("no memorization") for note in fresh.notes) == 2
    assert (tmp_path / "planted" / "memorization.png").read_bytes().startswith(b"\x89PNG")


def test_memorization_of_a_checkpoint(run: Path, tmp_path: Path) -> None:
    (entry,) = evaluate(ckpt(run), "num_samples=12", "memorization=true", f"output_dir={tmp_path}/out")
    low, high = entry.intervals["memorized_share"]
    assert 0 <= low <= entry.values["memorized_share"] <= high <= 1
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["memorization-digits-step-25.png"]
