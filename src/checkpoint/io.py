"""Write checkpoints such that a crash, a kill or a full disk never destroys the previous one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from ..errors import format_bytes
from ..io.archive import write_archive
from ..io.atomic import Refusal, refusals, remove_leftovers
from .read import OpenCheckpoint, load_archive


class AtomicCheckpointIO(CheckpointIO):
    """Give a checkpoint its final name only when it is complete and on the disk.

    It is written to a temporary file next to the target, flushed to the disk and renamed. Tensors are streamed into the
    file one by one, without a copy in memory.

    Attributes:
        last_good: the newest checkpoint that was written or loaded.
    """

    def __init__(self) -> None:
        self._resumed: OpenCheckpoint | None = None
        self.last_good: Path | None = None

    def resume_from(self, opened: OpenCheckpoint) -> None:
        """Return this checkpoint once, instead of reading its file again."""
        self._resumed, self.last_good = opened, opened.path

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write ``checkpoint`` to ``path``, replacing an existing file only when the new one is complete.

        Raises:
            UserError: there is no disk space or no permission; all earlier checkpoints are kept.
        """
        target = Path(path)
        with refusals(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        # Only one process writes to a run folder, so temporary files found here come from killed processes.
        remove_leftovers(target.parent)
        advice = self._advice(target.parent)
        self._check_room(checkpoint, target, advice)
        write_archive(target, checkpoint, advice)
        self.last_good = target

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load the checkpoint at ``path``, verified, as tensors and plain values only.

        Raises:
            UserError: the file is missing, damaged or from another program.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is not None and resumed.path == Path(path):
            return resumed.content
        return load_archive(path, map_location="cpu" if map_location is None else map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the checkpoint at ``path`` if it exists."""
        Path(path).unlink(missing_ok=True)

    def _check_room(self, checkpoint: Mapping[str, Any], target: Path, advice: str) -> None:
        needed, free = tensor_bytes(checkpoint), shutil.disk_usage(target.parent).free
        if needed > free:
            needs, has = map(format_bytes, (needed, free))
            raise Refusal(target, f"it needs {needs}, and the disk has {has} free", advice)

    def _advice(self, folder: Path) -> str:
        last = self.last_good
        if last is None or not last.exists():
            last = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
        kept = "there is no earlier checkpoint" if last is None else f"the last good checkpoint is {last}"
        return f"{kept}; free disk space or choose another folder, then resume with ckpt_path"


def tensor_bytes(checkpoint: Any) -> int:
    """Return the bytes of all tensors in nested containers; shared storage counts once."""
    sizes: dict[int, int] = {}
    pending = [checkpoint]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
    return sum(sizes.values())
