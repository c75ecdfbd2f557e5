"""Pictures and tables are sent to the loggers that support them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.loggers import AppendingCSVLogger, log_picture, log_table


class Wandb(WandbLogger):
    def __init__(self) -> None:
        self.logged: list[Any] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.logged.append((key, [image.shape for image in images], step))

    def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
        self.logged.append((key, columns, data))


def test_each_logger_gets_supported_media(tmp_path: Path) -> None:
    tensorboard, wandb, csv = TensorBoardLogger(str(tmp_path), "", ""), Wandb(), AppendingCSVLogger(str(tmp_path))
    for logger in (tensorboard, wandb, csv):
        log_picture(logger, "samples", np.zeros((3, 5, 3), np.uint8), step=7)
        log_table(logger, "scores", ["label", "fid"], [["a", 1.0]])
    tensorboard.save()
    events = EventAccumulator(tensorboard.log_dir).Reload()
    assert [(image.step, image.height, image.width) for image in events.Images("samples")] == [(7, 3, 5)]
    assert wandb.logged == [("samples", [(3, 5, 3)], 7), ("scores", ["label", "fid"], [["a", 1.0]])]
    assert not (tmp_path / "metrics.csv").exists()
