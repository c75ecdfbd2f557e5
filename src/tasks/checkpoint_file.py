"""Open a checkpoint file that training may replace at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import checkpoint_hash
from ..errors import UserError
from ..interop.checkpoints import open_checkpoint


def open_unchanged(path: Path, digest: str, experiment: str | None = None) -> dict[str, Any]:
    """Open a checkpoint and check its hash: results recorded under ``digest`` come from exactly this content.

    Args:
        path: the checkpoint file.
        digest: SHA-256 of the file when it was chosen.
        experiment: see ``open_checkpoint``.

    Raises:
        UserError: the file has changed since it was chosen, or it cannot be opened.
    """
    checkpoint = open_checkpoint(path, experiment)
    if checkpoint_hash(path) != digest:
        raise UserError(f"{path} changed while it was read: try again")
    return checkpoint
