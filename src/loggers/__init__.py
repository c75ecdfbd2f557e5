"""Loggers beyond those of Lightning."""

from .csv import AppendingCSVLogger, forget_after
from .summary import finish_loggers, keep_best, log_settings
from .wandb import finish_wandb, wandb_logger

__all__ = [
    "AppendingCSVLogger",
    "finish_loggers",
    "finish_wandb",
    "forget_after",
    "keep_best",
    "log_settings",
    "wandb_logger",
]
