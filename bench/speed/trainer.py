"""Overhead of trainer, callbacks and data module per training step, on a net small enough to show it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from bench.rows import Row, row
from bench.timing import Timing, difference, now
from src.config.location import CONFIG_DIR
from src.noise import Address

SECTION = "Trainer, digits net of 8 channels, batch 16"
OVERRIDES = [
    "experiment=digits",
    "net.nf=8",
    "datamodule.global_batch_size=16",
    "scheduler.steps=10",
    "~callbacks.fid",
    "~callbacks.sample_images",
    "+trainer.limit_val_batches=0",
]
WARM_UP = 30


class _Clock(Callback):
    """Record the time of every finished step."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.moments.append(now())


def overhead(steps: int, repeats: int) -> list[Row]:
    """Measure milliseconds per step with the trainer and with plain loops; medians of ``steps`` steps, repeated."""
    loops: dict[str, Callable[[int], list[float]]] = {
        "bare loop: torch's noise, no averages": lambda steps: _bare(steps, plain=True),
        "bare loop with the same work: addressed noise, averages": lambda steps: _bare(steps, plain=False),
        "trainer": _trained,
    }
    medians: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        for name, run in loops.items():
            medians[name].append(_median_step(run(steps + WARM_UP)))
    times = {name: Timing(tuple(values)) for name, values in medians.items()}
    plainest, same, trainer = times.values()
    return [
        *(row(SECTION, name, timing.scaled(1e3), "ms") for name, timing in times.items()),
        row(
            SECTION,
            "trainer over the loop with the same work",
            difference(trainer, same).scaled(1e3),
            "ms",
            at_most=3.0,
        ),
        row(SECTION, "trainer over the plainest loop", difference(trainer, plainest).scaled(1e3), "ms"),
    ]


def _median_step(moments: list[float]) -> float:
    durations = [b - a for a, b in zip(moments[WARM_UP:], moments[WARM_UP + 1 :], strict=False)]
    return Timing(tuple(durations)).median


@contextmanager
def _composed(steps: int) -> Any:
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[*OVERRIDES, f"paths.run_dir={Path(folder)}", f"trainer.max_steps={steps}", "sde.prior_mean=0.0"],
        )
        # No checkpoint during the measurement.
        cfg.callbacks.last_checkpoint.every_n_steps = 10**6
        torch.manual_seed(0)
        yield cfg


def _trained(steps: int) -> list[float]:
    with _composed(steps) as cfg:
        clock = _Clock()
        callbacks = [instantiate(node, _convert_="all") for node in cfg.callbacks.values()]
        trainer = instantiate(
            cfg.trainer,
            _convert_="all",
            callbacks=[*callbacks, clock],
            logger=[instantiate(node, _convert_="all") for node in cfg.logger.values()],
        )
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer.fit(instantiate(cfg.module, _convert_="all"), instantiate(cfg.datamodule, _convert_="all"))
        return clock.moments


def _bare(steps: int, plain: bool) -> list[float]:
    with _composed(steps) as cfg:
        data = instantiate(cfg.datamodule, _convert_="all")
        data.setup("fit")
        model = instantiate(cfg.model, _convert_="all")
        objective = instantiate(cfg.objective, _convert_="all")
        optimizer = instantiate(cfg.optimizer, _convert_="all")(model.parameters())
        scheduler = instantiate(cfg.scheduler, _convert_="all")(optimizer)
        shadow = [parameter.detach().clone() for parameter in model.parameters()]
        moments: list[float] = []
        while len(moments) < steps:
            for raw in data.train_dataloader():
                batch = data.on_after_batch_transfer(raw, 0)
                if plain:
                    loss = _plain_loss(model, objective, batch["x"])
                else:
                    address = Address(0, batch["step"], batch["position"])
                    loss = objective(model, batch["x"], address, {"labels": batch["labels"]}).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                if not plain:
                    with torch.no_grad():
                        torch._foreach_lerp_(shadow, list(model.parameters()), 1e-3)
                moments.append(now())
                if len(moments) == steps:
                    break
        return moments


def _plain_loss(model: Any, objective: Any, x: torch.Tensor) -> torch.Tensor:
    t = 1e-5 + (1 - 1e-5) * torch.rand(len(x))
    loss: torch.Tensor = objective.loss(model, x, t, torch.randn_like(x)).mean()
    return loss
