"""Checkpoints: written so that none is lost, found, read without trust, and turned back into models."""

from src.checkpoint.find import find_checkpoint
from src.checkpoint.io import AtomicCheckpointIO
from src.checkpoint.lock import RunLock
from src.checkpoint.read import checkpoint_hash, read_checkpoint
from src.checkpoint.restore import instantiate_node, restore_classifier, restore_model

__all__ = [
    "AtomicCheckpointIO",
    "RunLock",
    "checkpoint_hash",
    "find_checkpoint",
    "instantiate_node",
    "read_checkpoint",
    "restore_classifier",
    "restore_model",
]
