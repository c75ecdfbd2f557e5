"""Checkpoints as the original programs write them, built from arrays in tests/data/checkpoints.

The arrays belong to a tiny NCSN++ after five training steps: its state dict, and the averages of Song's program in
their order. Peng's program writes the same averages with the frozen frequencies first. The large optimizer state is
left out; no test reads it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.interop.song.config import net_kwargs_from_song
from tests.nets import goldens
from tests.support.golden import DATA

FOLDER = DATA / "checkpoints"
LAYOUTS = ("song", "peng")
_STEPS, _DECAY = 5, 0.999


def content(layout: str) -> dict[str, Any]:
    """Return the content that the program gives to ``torch.save``."""
    arrays: dict[str, Tensor] = {}
    for path in sorted(FOLDER.glob("original.*.npz")):
        with np.load(path, allow_pickle=False) as file:
            arrays |= {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    # Names in the order of the original's state dict, noise levels first.
    state, _ = goldens.load("ncsnpp_ve_continuous")
    model = {f"module.{name}": arrays[f"model.module.{name}"] for name in state}
    shadow = [arrays[name] for name in sorted(arrays) if name.startswith("ema.")]
    optimizer = {"state": {}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999), "params": list(range(157))}]}
    ema: dict[str, Any] = {"decay": _DECAY, "num_updates": _STEPS, "shadow_params": shadow}
    if layout == "song":
        return {"optimizer": optimizer, "model": model, "ema": ema, "step": _STEPS}
    ema |= {"shadow_params": [model["module.all_modules.0.W"], *shadow], "collected_params": None}
    return {"model": model, "ema": ema, "optimizer": optimizer}


def write(folder: Path, layout: str) -> Path:
    """Write a file of that program."""
    path = folder / f"{layout}.pth"
    torch.save(content(layout), path)
    return path


def config(**options: Any) -> dict[str, Any]:
    """Return the parts of a training configuration for the net and its SDE; ``options`` change the net."""
    target, kwargs = net_kwargs_from_song(goldens.CONFIGS["ncsnpp_ve_continuous"])
    return {
        "model": {
            "_target_": "src.sde.ScoreModel",
            "net": {"_target_": target, **kwargs, **options},
            "sde": {"_target_": "src.sde.VESDE", "sigma_min": 0.01, "sigma_max": 50.0, "prior_mean": "data"},
            "parametrization": {"_target_": "src.sde.parametrization.SongVE"},
            "data_range": "unit",
        },
        "sampler": {"_target_": "src.sampling.solvers.pc.PredictorCorrector", "grid": {"steps": 1000, "eps": 1e-5}},
    }


def outputs() -> dict[str, Tensor]:
    """Return x, sigma and the scores of raw and averaged weights."""
    with np.load(FOLDER / "outputs.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
