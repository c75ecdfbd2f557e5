"""A small checkpoint with the layout of a training run."""

from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from src.sde import ScoreModel


def config(width: int = 8) -> dict[str, Any]:
    return {
        "model": {
            "_target_": "src.sde.ScoreModel",
            "net": {"_target_": "src.nets.mlp.MLP", "dim": 2, "width": width, "depth": 1, "fourier_features": 4},
            "sde": {"_target_": "src.sde.VESDE", "sigma_max": 5.0, "prior_mean": [0.25, 0.75]},
            "parametrization": {"_target_": "src.sde.parametrization.SongVE"},
            "data_range": "unit",
        },
        "sampler": {"_target_": "src.sampling.solvers.schedule.LinearGrid", "steps": 7},
    }


def model(seed: int, width: int = 8) -> ScoreModel:
    """Return a score model with random weights in every layer."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        built = instantiate(config(width)["model"], _convert_="all")
        for parameter in built.parameters():
            parameter.normal_()
    assert isinstance(built, ScoreModel)
    return built


def parameters(of: ScoreModel) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in of.net.named_parameters()}


def checkpoint(step: int = 3) -> dict[str, Any]:
    """Return a checkpoint: raw weights of seed 0, averages ``default`` and ``short`` of seeds 1 and 2."""
    return {
        "state_dict": {f"model.{name}": value for name, value in model(0).state_dict().items()},
        "ema": {"default": parameters(model(1)), "short": parameters(model(2))},
        "config": config(),
        "global_step": step,
        "run": {"WandbLogger": "abc12345"},
    }
