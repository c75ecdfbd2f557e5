"""Final summaries: the best score, and settings with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from .wandb import finish_wandb


@rank_zero_only
def keep_best(loggers: Sequence[Logger], name: str, value: float, step: int) -> None:
    """Put the best score so far and its step into the summary of W&B, which otherwise shows the last score."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({f"best/{name}": value, "best/step": step})


@rank_zero_only
def log_settings(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log the configuration at the start of a run; TensorBoard gets it at the end, because its table needs scores."""
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(config))


def finish_loggers(loggers: Sequence[Logger], config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Close the logs of a run: TensorBoard's table of settings and scores, and the run of W&B."""
    _table(loggers, config, metrics)
    finish_wandb()


@rank_zero_only
def _table(loggers: Sequence[Logger], config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(config), dict(metrics))
            logger.save()
