"""A training run of one second, and readers of its results."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TINY = (
    "experiment=digits",
    "metric=pixel",
    "net.nf=8",
    "net.ch_mult=[1]",
    "net.attn_resolutions=[]",
    "datamodule.global_batch_size=32",
    # Five steps per epoch, so that a run has several epochs.
    "datamodule.limit=160",
    "sampler.grid.steps=2",
    "preview.grid.steps=2",
    "scheduler=warm_up",
    "scheduler.steps=10",
    "trainer.log_every_n_steps=1",
    "callbacks.progress.every_seconds=0",
)

# 24 steps with all activities of a run, at different steps.
EVENTFUL = (
    *TINY,
    "net.dropout=0.1",
    "trainer.max_steps=24",
    "trainer.val_check_interval=7",
    "callbacks.last_checkpoint.every_n_steps=3",
    "callbacks.milestones.every_n_steps=9",
    "callbacks.sample_images.every_n_steps=9",
    "callbacks.sample_images.num_images=4",
    "callbacks.fid.every_n_steps=8",
    "callbacks.fid.num_samples=16",
    "callbacks.fid.sampler=${preview}",
    "callbacks.fid.batch_size=8",
)


def in_folder(folder: Path) -> tuple[str, ...]:
    """Arguments that write everything into ``folder``."""
    return f"paths.log_dir={folder}/logs", f"metric.cache_dir={folder}/cache"


def only_run(folder: Path) -> Path:
    """Return the folder of the only finished run in ``folder``."""
    (found,) = {path.parent for path in (folder / "logs").rglob("result.json")}
    return found


def final_checkpoint(run: Path, folder: Path) -> dict[str, Any]:
    """Return the last checkpoint of ``run``, without paths and without how the run was started."""
    path = max((run / "checkpoints").glob("step*.ckpt"))
    content = torch.load(path, weights_only=True)
    del content["config"]["ckpt_path"]
    place = re.compile(re.escape(str(folder)) + r"(/logs/[\w-]+/[\d_-]+)?")
    cleaned: dict[str, Any] = _without(content, place)
    return cleaned


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return where two nested contents differ, bit by bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys(), key=str)
        return [d for key in keys for d in differences(a.get(key, "absent"), b.get(key, "absent"), f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{where}/{i}")]
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    return [] if type(a) is type(b) and a == b else [f"{where}: {a!r} and {b!r}"]


def curve(run: Path) -> dict[int, dict[str, str]]:
    """Return ``metrics.csv`` by step as text, without the time column."""
    merged: dict[int, dict[str, str]] = {}
    with (run / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            row.pop("time", None)
            merged.setdefault(int(float(row["step"])), {}).update({key: text for key, text in row.items() if text})
    return merged


def _without(value: Any, place: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, place) for item in value]
    return place.sub("", value) if isinstance(value, str) else value
