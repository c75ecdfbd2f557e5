"""Checkpoints of tiny untrained nets, as training writes them; run scripts in this process or in another."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tests.support.configs import CONF

ROOT = CONF.parent

IMAGES = (
    "experiment=digits",
    "net.nf=8",
    "net.ch_mult=[1]",
    "net.attn_resolutions=[]",
    "net.init_scale=1",
    "sampler.grid.steps=4",
)
POINTS = (
    "datamodule=toy2d",
    "net=mlp",
    "net.width=8",
    "net.init_scale=1",
    "sde.prior_mean=0",
    "sde.sigma_max=2",
    "sampler=heun",
)
_NODES = ("net", "sde", "parametrization", "model", "datamodule", "sampler", "metric")


def config(*overrides: str) -> dict[str, Any]:
    """Return the parts of a resolved training configuration that sampling needs."""
    return copy.deepcopy(_config(*overrides))


@functools.cache
def _config(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides))
    nodes = [name for name in _NODES if name in cfg]
    if cfg.sde.get("prior_mean") == "data":
        cfg.sde.prior_mean = 0.25
    return {name: OmegaConf.to_container(cfg[name], resolve=True) for name in nodes}


def write_checkpoint(path: Path, *overrides: str, scale: float = 1.0) -> Path:
    """Write a checkpoint whose averaged weights are ``scale`` times the raw ones."""
    made = config(*overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = instantiate(made["model"], _convert_="all")
    raw = {f"model.{name}": value for name, value in model.state_dict().items()}
    average = {name: value.detach() * scale for name, value in model.net.named_parameters()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": raw, "ema": {"default": average}, "config": made, "global_step": 7}, path)
    return path


def run_script(*arguments: str, launcher: tuple[str, ...] = (), cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run ``sample.py`` in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(ROOT / "sample.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)


def sampling_config(*arguments: str) -> DictConfig:
    """Return the configuration of ``sample.py`` with these arguments."""
    from src.cli.arguments import checkpoint_arguments

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("sample", checkpoint_arguments(arguments, CONF))


def sample(*arguments: str) -> float | None:
    """Run ``sample.py`` in this process."""
    from sample import main as script

    return script.__wrapped__(sampling_config(*arguments))


def load(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def result(folder: Path) -> dict[str, Any]:
    """The only result in the record of a folder."""
    (found,) = load(folder / "metrics.json")["results"]
    return found


def values(folder: Path) -> dict[str, float]:
    return result(folder)["values"]
