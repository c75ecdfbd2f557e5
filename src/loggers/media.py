"""Pictures and tables for loggers that support them; other loggers ignore them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger


@singledispatch
def log_picture(logger: Logger, name: str, image: np.ndarray, step: int | None = None) -> None:
    """Log a picture.

    Args:
        logger: a logger of Lightning.
        name: name of the picture, equal at all steps.
        image: (H, W, 3) uint8.
        step: optimizer step; None for a picture without a step.
    """


@log_picture.register
def _(logger: TensorBoardLogger, name: str, image: np.ndarray, step: int | None = None) -> None:
    logger.experiment.add_image(name, image, step, dataformats="HWC")


@log_picture.register
def _(logger: WandbLogger, name: str, image: np.ndarray, step: int | None = None) -> None:
    logger.log_image(name, [image], step=step)


@singledispatch
def log_table(logger: Logger, name: str, columns: list[str], rows: Sequence[list[Any]]) -> None:
    """Log a table; each row has one value per column."""


@log_table.register
def _(logger: WandbLogger, name: str, columns: list[str], rows: Sequence[list[Any]]) -> None:
    logger.log_table(name, columns=columns, data=list(rows))
