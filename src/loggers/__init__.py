"""Loggers beyond those of Lightning."""

from .csv import AppendingCSVLogger, forget_after
from .media import log_picture, log_table
from .summary import finish_loggers, keep_best, log_settings
from .wandb import finish_wandb, wandb_logger

__all__ = [
    "AppendingCSVLogger",
    "finish_loggers",
    "finish_wandb",
    "forget_after",
    "keep_best",
    "log_picture",
    "log_settings",
    "log_table",
    "wandb_logger",
]
