"""Short training runs of a tiny net on the digits, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor

from src.callbacks.ema import EMA
from src.checkpoint.io import AtomicCheckpointIO

CONF = str(Path(__file__).parents[2] / "conf")
TINY = (
    "experiment=digits",
    "net.nf=8",
    "net.init_scale=1.0",
    "datamodule.global_batch_size=16",
    "datamodule.eval_batch_size=16",
    "scheduler.steps=1",
    "scheduler.total_steps=100",
    "sde.prior_mean=0.0",
    "~callbacks",
    "++trainer.logger=false",
    "++trainer.enable_checkpointing=false",
    "++trainer.limit_val_batches=0",
    "trainer.log_every_n_steps=1000",
    "paths.run_dir=none",
)


@cache
def config(*settings: str) -> DictConfig:
    """Return the configuration of a run; do not modify it."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("train", overrides=[*TINY, *settings])


@dataclass
class Run:
    """A finished run.

    Attributes:
        start: initial weights, on the CPU.
        losses: loss of every step, shape (), on the CPU.
    """

    module: LightningModule
    trainer: Trainer
    ema: EMA
    start: dict[str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)

    def weights(self) -> dict[str, Tensor]:
        """Raw weights, on the CPU."""
        return _copied(self.module.state_dict())

    def averages(self) -> dict[str, Tensor]:
        """The first average, on the CPU."""
        return _copied(next(iter(self.ema.shadows.values())))

    def moments(self) -> dict[str, Tensor]:
        """The optimizer state, on the CPU."""
        state = self.trainer.optimizers[0].state_dict()["state"]
        return _copied({f"{i}.{name}": value for i, values in state.items() for name, value in values.items()})

    def everything(self) -> dict[str, Tensor]:
        """Weights, averages and optimizer state."""
        parts = {"weights": self.weights(), "averages": self.averages(), "moments": self.moments()}
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}


def fit(
    device: torch.device,
    *settings: str,
    steps: int = 3,
    callbacks: Sequence[Callback] = (),
    ckpt_path: Path | None = None,
    seed: int = 0,
) -> Run:
    """Train from the weights of ``seed``, or resume from a checkpoint, up to ``steps`` steps."""
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    cfg = config(f"trainer.max_steps={steps}", f"trainer.accelerator={accelerator}", *settings)
    torch.manual_seed(seed)
    module = instantiate(cfg.module, _convert_="all")
    start = _copied(module.state_dict())
    losses: list[Tensor] = []
    step = module.training_step

    def kept(batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = step(batch, batch_idx)
        losses.append(loss.detach())
        return loss

    module.training_step = kept
    ema = EMA(instantiate(cfg.ema, _convert_="all"))
    trainer = instantiate(cfg.trainer, _convert_="all", callbacks=[ema, *callbacks], plugins=[AtomicCheckpointIO()])
    trainer.fit(module, instantiate(cfg.datamodule, _convert_="all"), ckpt_path=ckpt_path, weights_only=True)
    # Lightning moves the module to the CPU at the end.
    module.to(device)
    return Run(module, trainer, ema, start, [loss.cpu() for loss in losses])


@cache
def on_cpu(steps: int = 3) -> Run:
    """Reference run on the CPU; do not modify it."""
    return fit(torch.device("cpu"), steps=steps)


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the Euclidean distance of two sets of weights."""
    assert a.keys() == b.keys()
    return sum(float((a[key].double() - b[key].double()).square().sum()) for key in a) ** 0.5


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Return the names of tensors that are not bitwise equal."""
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])]


def _copied(tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value).detach().cpu().clone() for name, value in tensors.items()}
