"""Checkpoints: write them safely, find them, read them without trusting them, restore models from them."""

from .find import find_checkpoint
from .io import AtomicCheckpointIO
from .lock import RunLock
from .read import OpenCheckpoint, checkpoint_hash, open_verified, read_checkpoint
from .restore import instantiate_node, restore_classifier, restore_model

__all__ = [
    "AtomicCheckpointIO",
    "OpenCheckpoint",
    "RunLock",
    "checkpoint_hash",
    "find_checkpoint",
    "instantiate_node",
    "open_verified",
    "read_checkpoint",
    "restore_classifier",
    "restore_model",
]
