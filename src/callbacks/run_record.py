"""Record in every checkpoint what is needed to use it on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RunRecord(Callback):
    """Store the resolved configuration and the identity of the run in every checkpoint.

    Args:
        config: the configuration as plain containers, including all values that depend on the data.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["run"] = {type(logger).__name__: logger.version for logger in trainer.loggers}
