"""Where the curves of a run are kept, beyond what Lightning's loggers do."""

from .csv import AppendingCSVLogger
from .wandb import finish_wandb, wandb_logger

__all__ = ["AppendingCSVLogger", "finish_wandb", "wandb_logger"]
