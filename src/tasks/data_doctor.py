"""The doctor for a user's own images: findings, the whole training command, and the time of one step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..cli.command_line import prepare_arguments
from ..cli.instantiate import fill_in_from_data, instantiate
from ..cli.messages import one_line
from ..cli.run_dir import register_resolvers
from ..config.build import build
from ..config.location import CONFIG_DIR, program_command
from ..errors import UserError
from ..noise import Address
from .train.choices import Choices, choose_settings, whole_command

_WARM_UP, _MEASURED = 1, 3


def report_on_data(overrides: Sequence[str]) -> str:
    """Print the findings, the choices as one command, and the seconds per step on this machine.

    Args:
        overrides: overrides of ``train.py experiment=images``.

    Raises:
        UserError: no data are named, there are none, or a setting does not exist.
    """
    if not any(override.startswith("datamodule.path=") for override in overrides):
        raise UserError(
            f"name data: {program_command('doctor')} datamodule.path=<folder or file>, or datamodule=digits"
        )
    cfg = _composed("train", ["experiment=images", "paths.run_dir=.", *prepare_arguments(overrides, [])])
    choices = choose_settings(cfg)
    if choices is None:
        raise UserError(
            f"every setting is given, so nothing is left to choose: run {program_command('train')} with them"
        )
    seconds, device = _time_of_a_step(cfg)
    steps = int(cfg.trainer.max_steps)
    lines = [
        str(choices.findings),
        f"a step takes {seconds:.3g} s on this machine ({device}), {steps:,} steps {_duration(steps * seconds)}",
        whole_command(cfg, _with_given(choices, overrides)),
    ]
    return "\n".join(lines)


def compose_datamodule(overrides: Sequence[str]) -> Any:
    """Build the datamodule that overrides such as ``datamodule=digits datamodule.image_size=16`` describe.

    Raises:
        UserError: the configuration has an error.
    """
    marked = [f"+{o}" if o.startswith("datamodule=") else o for o in prepare_arguments(overrides, [])]
    cfg = _composed(None, marked)
    return build(OmegaConf.to_container(cfg.datamodule, resolve=True), "datamodule")


def _composed(config_name: str | None, overrides: list[str]) -> DictConfig:
    register_resolvers()
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose(config_name, overrides)
    except HydraException as error:
        raise UserError(one_line(error, "train") or " ".join(str(error).split())) from error


def _with_given(choices: Choices, overrides: Sequence[str]) -> Choices:
    """The choices together with the settings of the command line."""
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    given.pop("datamodule.path", None)
    return Choices({**given, **choices.values}, choices.findings)


def _time_of_a_step(cfg: DictConfig) -> tuple[float, str]:
    """Measure the seconds of one forward pass, backward pass and optimizer step; also return the device's name."""
    gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    device = torch.device("cuda" if gpu else "cpu")
    data = instantiate(cfg.datamodule)
    fill_in_from_data(cfg, data)
    model = instantiate(cfg.model).to(device)
    objective: Any = instantiate(cfg.objective)
    optimizer = instantiate(cfg.optimizer)(model.parameters())
    batch = next(iter(data.train_dataloader()))
    moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    moved = data.on_after_batch_transfer(moved, 0)
    cond = {"labels": moved["labels"]} if "labels" in moved else {}
    start = 0.0
    for step in range(_WARM_UP + _MEASURED):
        if step == _WARM_UP:
            _wait(device)
            start = time.perf_counter()
        loss = objective(model, moved["x"], Address(0, step, moved["position"]), cond, train=True).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait(device)
    name = torch.cuda.get_device_name(device) if gpu else f"CPU, {torch.get_num_threads()} threads"
    return (time.perf_counter() - start) / _MEASURED, name


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
