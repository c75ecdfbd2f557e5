"""The commands of the speedrun, as typed by a user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.gpu_proof.setup import Setup
from bench.report import ROOT

RUN, REHEARSAL = "speedrun", "rehearsal"
"""Folders of the two trainings under ``Setup.work``."""

_SMALL = (
    "trainer=cpu",
    "net.nf=8",
    "net.ch_mult=[1,1]",
    "datamodule.global_batch_size=32",
    "callbacks.time_budget.warm_up_steps=5",
    "sampler.grid.steps=4",
)


def call(script: str, *arguments: str, compiled: bool = True) -> None:
    """Run a script of this project; its output goes to the log of the stage.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = os.environ if compiled else {**os.environ, "TORCH_COMPILE_DISABLE": "1"}
    command = [sys.executable, *script.split(), *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


def train(setup: Setup, name: str, *settings: str) -> None:
    """Run ``train.py experiment=cifar10_speedrun`` in the folder ``name``."""
    call(
        "train.py",
        "experiment=cifar10_speedrun",
        *setup.data_overrides,
        *(_SMALL if setup.small else ()),
        f"hydra.run.dir={setup.work / name}",
        *settings,
    )


def checkpoint(setup: Setup, name: str) -> Path:
    """Return the last checkpoint of a training.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted((setup.work / name / "checkpoints").glob("*.ckpt"))
    if not found:
        raise FileNotFoundError(f"the training {name} left no checkpoint")
    return found[-1]


def samples(setup: Setup, name: str) -> Path:
    """Return the folder in which ``sample`` stores the images of a training."""
    return setup.work / f"{name}_samples"


def sample(setup: Setup, name: str, count: int) -> None:
    """Run ``sample.py`` with the averaged weights of a training; image i has class i modulo 10."""
    call(
        "sample.py",
        f"ckpt_path={checkpoint(setup, name)}",
        f"num_samples={count}",
        f"batch_size={min(count, 1000)}",
        "labels=cycle",
        "format=npz",
        f"precision={'bf16-mixed' if setup.on_gpu else '32-true'}",
        f"accelerator={'gpu' if setup.on_gpu else 'cpu'}",
        "devices=1",
        f"output_dir={samples(setup, name)}",
    )
