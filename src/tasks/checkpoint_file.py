"""The file of a checkpoint, which training may replace at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import checkpoint_hash
from ..errors import UserError
from ..interop.checkpoints import open_checkpoint


def open_known(path: Path, digest: str, experiment: str | None = None) -> dict[str, Any]:
    """A checkpoint by its hash: what is recorded under ``digest`` was made with this content and no other.

    Args:
        path: the file.
        digest: SHA-256 of the file when it was chosen.
        experiment: see ``open_checkpoint``.

    Raises:
        UserError: the file is another one by now, or cannot be opened.
    """
    checkpoint = open_checkpoint(path, experiment)
    if checkpoint_hash(path) != digest:
        raise UserError(f"{path} changed while it was read: try again")
    return checkpoint
