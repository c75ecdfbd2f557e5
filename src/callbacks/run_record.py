"""What a checkpoint must know to be used without anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RunRecord(Callback):
    """Puts the resolved configuration and the run's identity into every checkpoint.

    Args:
        config: the configuration as plain containers, with everything that came from the data filled in.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["run"] = {type(logger).__name__: logger.version for logger in trainer.loggers}
