"""Two processes make the same pictures and scores as one, write them once, and do not deadlock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from src.tasks.train.plan import check_training
from src.tasks.train.task import start_training
from tests.reliability.support.entry import start_ranks
from tests.support.configs import CONF
from tests.tasks.example import IMAGES

SETTINGS = (
    *IMAGES,
    "trainer=ddp_sim",
    "trainer.max_steps=3",
    "scheduler.steps=1",
    "trainer.val_check_interval=2",
    "+trainer.limit_val_batches=0",
    "datamodule.global_batch_size=16",
    "datamodule.limit=64",
    "metric=pixel",
    "optimized_metric=frechet_pixel",
    "logger=csv",
    "callbacks.fid.every_n_steps=2",
    "callbacks.fid.num_samples=7",
    "callbacks.fid.batch_size=2",
    "callbacks.sample_images.every_n_steps=2",
    "callbacks.sample_images.num_images=5",
    "callbacks.sample_images.batch_size=2",
    "callbacks.sample_images.trajectory=true",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return run folders by number of processes; the run of two processes starts while the run of one works here."""
    folders = {devices: tmp_path_factory.mktemp(f"{devices}") for devices in (1, 2)}

    def settings(devices: int) -> list[str]:
        folder = folders[devices]
        return [*SETTINGS, f"trainer.devices={devices}", f"paths.run_dir={folder}", f"metric.cache_dir={folder}/cache"]

    ranks = start_ranks(["train.py", *settings(2), f"hydra.run.dir={folders[2]}"], folders[2] / "output")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*settings(1), "trainer.strategy=auto"])
    check_training(cfg)
    with start_training(cfg) as run:
        run.fit()
    for rank in ranks:
        ended = rank.wait()
        assert ended.code == 0, ended.err
    return folders


def test_scores_agree_and_are_written_once(runs: dict[int, Path]) -> None:
    one, two = ([json.loads(line) for line in (runs[n] / "scores.jsonl").read_text().splitlines()] for n in (1, 2))
    assert [entry["subject"]["step"] for entry in one] == [entry["subject"]["step"] for entry in two] == [2, 3]
    for a, b in zip(one, two, strict=True):
        assert a["conditions"] == b["conditions"]
        assert a["values"]["frechet_pixel"] == pytest.approx(b["values"]["frechet_pixel"], rel=1e-3)


def test_pictures_agree(runs: dict[int, Path]) -> None:
    one, two = (np.asarray(Image.open(runs[n] / "samples" / "step00000003.png")).astype(int) for n in (1, 2))
    assert one.shape == two.shape
    assert np.abs(one - two).max() <= 1
    assert one.std() > 0
    assert (runs[2] / "samples" / "step00000003.gif").exists()


def test_best_checkpoint_is_written(runs: dict[int, Path]) -> None:
    assert (runs[2] / "checkpoints" / "best_fid.ckpt").exists()
