"""Write power-function averages at regular steps, so that any EMA length can be chosen after training."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer

from ..checkpoint.averages.posthoc import write_snapshot
from ..errors import UserError
from ..io.step_names import step_name
from .ema import EMA, ema_of
from .monitors.periodic import Periodic

DTYPES = {"float32": torch.float32, "float16": torch.float16}


class EMASnapshots(Periodic):
    """Write ``step<optimizer step>.safetensors`` with the averages only.

    It runs after the EMA callback and writes the averages of the same step.

    Args:
        dirpath: output folder: ``ema_snapshots`` of the run folder, where evaluate.py looks for the files.
        every_n_steps: optimizer steps between two files.
        dtype: dtype of the stored numbers, ``float32`` or ``float16`` (half the size, as in the paper).

    Raises:
        UserError: an unknown dtype; in ``setup``, if no power-function average is kept.
    """

    def __init__(self, dirpath: str | Path, every_n_steps: int, dtype: str = "float32") -> None:
        super().__init__(every_n_steps)
        if dtype not in DTYPES:
            raise UserError(f"ema_snapshots.dtype={dtype}: choose one of {', '.join(DTYPES)}")
        self.dirpath = Path(dirpath)
        self.dtype = DTYPES[dtype]
        self.sigma_rel: dict[str, float] = {}
        self._ema: EMA | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._ema = ema_of(trainer)
        averages = self._ema.averages if self._ema is not None else {}
        self.sigma_rel = {name: kept.sigma_rel for name, kept in averages.items() if kept.sigma_rel is not None}
        if not self.sigma_rel:
            raise UserError("callbacks.ema_snapshots needs power-function averages: add ema=posthoc", shared=True)

    def is_done(self, step: int) -> bool:
        return (self.dirpath / step_name(step, ".safetensors")).exists()

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert self._ema is not None
        averages = {
            name: {key: value.to("cpu", self.dtype) for key, value in self._ema.shadows[name].items()}
            for name in self.sigma_rel
        }
        path = self.dirpath / step_name(trainer.global_step, ".safetensors")
        write_snapshot(path, averages, self.sigma_rel, self._ema.updates)
