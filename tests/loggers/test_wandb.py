import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from src.errors import UserError
from src.loggers import finish_wandb, wandb_logger
from tests.loggers.wandb_reader import read_offline

KEYS = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL")


@pytest.fixture(autouse=True)
def machine_without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        # Set first, so that what the logger itself sets is undone as well.
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for folder in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(folder, str(tmp_path / "home"))


def test_a_run_and_its_continuation_offline(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    logger = wandb_logger(str(run_dir), project="toys", name="ve")
    known = logger.version
    logger.log_hyperparams({"lr": 0.5})
    logger.log_metrics({"train/loss": torch.tensor(1.5).item()}, 3)
    logger.log_image("samples", [Image.fromarray(picture)], 4)
    # The next job of a sweep, or the resumed run, in the same process: the open run is not reused.
    second = wandb_logger(str(run_dir), project="toys", name="ve", id=known)
    second.log_metrics({"train/loss": 0.5}, 5)
    finish_wandb()

    first, continued = read_offline(run_dir)
    assert (first.id, first.project, first.name) == (known, "toys", "ve")
    assert first.config["lr"] == 0.5
    loss, samples = first.history
    assert (loss["train/loss"], loss["trainer/global_step"]) == (1.5, 3)
    [file] = [path for path in first.files if path.suffix == ".png"]
    assert samples["samples"]["filenames"] == [str(file.relative_to(first.folder / "files"))]
    assert np.array_equal(np.asarray(Image.open(file)), picture)
    assert continued.id == known
    assert [(row["train/loss"], row["trainer/global_step"]) for row in continued.history] == [(0.5, 5)]


def test_without_a_key_one_line_says_how_to_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="src.loggers"):
        logger = wandb_logger(str(tmp_path / "run"), project="p")
    assert logger._offline
    [line] = [record.getMessage() for record in caplog.records]
    assert line == f"wandb has no key and logs offline; upload with: wandb sync {tmp_path}/run/wandb/offline-run-*"


@pytest.mark.parametrize("place", ["environment", "netrc"])
def test_with_a_key_it_is_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    if place == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    else:
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
    assert not wandb_logger(str(tmp_path), project="p")._offline
    assert wandb_logger(str(tmp_path), project="p", offline=True)._offline
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_logger(str(tmp_path), project="p")._offline


def test_a_key_of_another_server_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_logger(str(tmp_path), project="p")._offline


def test_online_without_a_key_is_refused_instead_of_asking(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wandb login"):
        wandb_logger(str(tmp_path), project="p", offline=False)


def test_ids_are_new_unless_given(tmp_path: Path) -> None:
    versions = {wandb_logger(str(tmp_path), project="p").version for _ in range(3)}
    assert len(versions) == 3
    assert wandb_logger(str(tmp_path), project="p", id="abc").version == "abc"


def test_only_rank_zero_opens_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = wandb_logger(str(tmp_path / "run"), project="p")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.experiment.log({"loss": 1.0})
    assert not (tmp_path / "run").exists()
