"""Sweeps, searches, torchrun, cluster launchers and W&B: jobs are complete and do not interfere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from hydra import compose, initialize_config_dir

from src.cli.run_dir import register_resolvers
from src.config.location import CONFIG_DIR
from tests.loggers.wandb_reader import read_offline
from tests.reliability.support.entry import IMPORTED_ONCE, ONE_THREAD, ROOT, train
from tests.reliability.support.runs import TINY, curve, in_folder, only_run

SHORT = (*TINY, "trainer.max_steps=3", "callbacks.fid.num_samples=16", "callbacks.sample_images.num_images=4")
MINIMAL = (*TINY, "trainer.max_steps=3", "callbacks=minimal", "optimized_metric=train/loss")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in its own process."""
    environment = {**os.environ, **ONE_THREAD}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return ``result.json`` of every job by folder name."""
    found = sorted((folder / "logs").rglob("result.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


@pytest.mark.timeout(600)
def test_a_sweep_continues_after_a_failed_job(tmp_path: Path) -> None:
    ended = train("-m", *MINIMAL, *in_folder(tmp_path), "seed=word,1", folder=tmp_path, seconds=540)
    assert ended.code == 1
    assert "1 job(s) of the sweep failed" in ended.error_lines[-1]
    assert "Traceback" not in ended.err
    assert sorted(results(tmp_path)) == ["1"]
    for result in (tmp_path / "logs").rglob("result.json"):
        assert sorted(curve(result.parent)) == [1, 2, 3]
        assert (result.parent / "checkpoints" / "step00000003.ckpt").exists()


def test_one_command_starts_the_second_process(tmp_path: Path) -> None:
    ended = train(*MINIMAL, *in_folder(tmp_path), "trainer=ddp_sim", "trainer.max_steps=1", folder=tmp_path)
    assert ended.code == 0, ended.err
    # Without the second process, the group of two would never start.
    assert sorted(curve(only_run(tmp_path))) == [1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_with_two_processes_for_each_job(tmp_path: Path) -> None:
    ended = train("-m", *SHORT, *in_folder(tmp_path), "trainer=ddp_sim", "seed=1,2", folder=tmp_path, seconds=540)
    assert ended.code == 0, ended.err
    done = results(tmp_path)
    assert sorted(done) == ["0", "1"]
    assert done["0"]["value"] != done["1"]["value"]
    for result in (tmp_path / "logs").rglob("result.json"):
        assert sorted(curve(result.parent)) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_with_two_ranks(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    ended = command(*torchrun, *SHORT, *in_folder(tmp_path), "trainer=ddp_sim")
    assert ended.returncode == 0, ended.stderr
    assert sorted(curve(only_run(tmp_path))) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ranks_restarted_by_torchrun_resume_their_run(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    often = ["callbacks.last_checkpoint.every_n_steps=5", "trainer.max_steps=60"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        agent = subprocess.Popen(
            [*torchrun, "train.py", *MINIMAL, *often, *in_folder(tmp_path), "trainer=ddp_sim"],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 300
        while " step 12 of" not in log.read_text():
            assert agent.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        (rank,) = [child for child in psutil.Process(agent.pid).children() if child.environ().get("LOCAL_RANK") == "1"]
        rank.kill()
        assert agent.wait(400) == 0, log.read_text()
    finally:
        agent.kill()
    (resumed,) = re.findall(r"resuming from (\S+)", log.read_text())
    run = only_run(tmp_path)
    assert Path(resumed).parent == run / "checkpoints" and "step00000000" not in resumed
    assert sorted(curve(run)) == list(range(1, 61))
    assert len(list((tmp_path / "logs").rglob("checkpoints"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hyperparameter_search_with_optuna(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["hparams_search=digits", "hydra.sweeper.n_trials=2", "optimized_metric=frechet_pixel"]
    ended = train("-m", *SHORT, *in_folder(tmp_path), *search, folder=tmp_path, seconds=540)
    assert ended.code == 0, ended.err
    values = [result["value"] for result in results(tmp_path).values()]
    assert len(values) == 2
    (summary,) = (tmp_path / "logs").rglob("optimization_results.yaml")
    assert f"best_value: {min(values)}" in summary.read_text()


def test_the_slurm_launcher_composes() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    register_resolvers()
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.nodes=2", "hydra.launcher.gpus_per_node=4"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=digits", *launcher], return_hydra_config=True)
    assert cfg.hydra.launcher._target_.endswith("SlurmLauncher")
    assert (cfg.hydra.launcher.nodes, cfg.hydra.launcher.gpus_per_node) == (2, 4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_local_submitit_launcher_runs(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    ended = command(
        sys.executable, "train.py", "-m", *MINIMAL, *in_folder(tmp_path), "hydra/launcher=submitit_local", "seed=1"
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(results(tmp_path)) == ["0"]


def test_wandb_has_loss_scores_and_pictures_of_a_resumed_run(tmp_path: Path) -> None:
    quiet = {key: str(tmp_path / "home") for key in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    environment = {**quiet, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    arguments = [*SHORT, *in_folder(tmp_path), "logger=wandb"]
    for resume in ([], ["ckpt_path=last", "trainer.max_steps=5"]):
        ended = train(*arguments, *resume, folder=tmp_path, environment=environment)
        assert ended.code == 0, ended.out + ended.err
    parts = read_offline(only_run(tmp_path))
    assert len(parts) == 2
    assert parts[0].id == parts[1].id
    rows = [row for part in parts for row in part.history]
    for key in ("train/loss", "frechet_pixel", "samples"):
        steps = [row["trainer/global_step"] for row in rows if key in row and "trainer/global_step" in row]
        assert 3 in steps and 5 in steps, (key, rows)
    assert all(any(file.suffix == ".png" for file in part.files) for part in parts)


def test_the_modules_that_the_fork_server_imports_exist() -> None:
    # It skips others without a message, and every process would import them.
    assert [name for name in IMPORTED_ONCE if importlib.util.find_spec(name) is None] == []
