"""Writing checkpoints so that a crash, a kill or a full disk never costs the one before."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from ..errors import UserError, bytes_in_words
from .read import load_archive

PARTIAL_SUFFIX = ".part"
"""Ends the name of a checkpoint that is being written."""

_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this system allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "writing is not permitted",
    errno.EPERM: "writing is not permitted",
}


class AtomicCheckpointIO(CheckpointIO):
    """A checkpoint has its name only when it is complete and on the disk.

    It is written to a temporary file beside the target, flushed to the disk and renamed. Tensors stream into the
    file one by one: nothing is collected in memory first.
    """

    def __init__(self) -> None:
        self.last_good: Path | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write ``checkpoint`` to ``path``, replacing what is there only when the new file is complete.

        Raises:
            UserError: when there is no room or no permission; every earlier checkpoint is still there.
        """
        target = Path(path)
        partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_partial_files(target.parent)
            self._check_room(checkpoint, target)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
            _sync_folder(target.parent)
        except BaseException as error:
            _unlink(partial)
            # torch reports a failed write as a RuntimeError of its own, raised while handling the system's error.
            refused = _system_error(error)
            if refused is not None and refused.errno in _REFUSALS:
                raise self._refusal(target, _REFUSALS[refused.errno]) from error
            raise
        self.last_good = target

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint at ``path``, checked to be whole; always read as tensors and plain values only.

        Raises:
            UserError: for a missing, damaged or foreign file.
        """
        return load_archive(path, map_location="cpu" if map_location is None else map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the checkpoint at ``path`` if it is there."""
        Path(path).unlink(missing_ok=True)

    def _check_room(self, checkpoint: Mapping[str, Any], target: Path) -> None:
        needed, free = tensor_bytes(checkpoint), shutil.disk_usage(target.parent).free
        if needed > free:
            needs, has = map(bytes_in_words, (needed, free))
            raise self._refusal(target, f"it needs {needs}, and the disk has {has} free")

    def _refusal(self, target: Path, reason: str) -> UserError:
        last = self.last_good
        if last is None or not last.exists():
            last = max(target.parent.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
        kept = "there is no earlier checkpoint" if last is None else f"nothing lost, the last good checkpoint is {last}"
        return UserError(
            f"{target} cannot be written because {reason}: {kept}; "
            "make room or choose another folder, then continue with ckpt_path"
        )


def tensor_bytes(checkpoint: Any) -> int:
    """Bytes of all tensors in nested containers, storages that are shared counted once."""
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


def _remove_partial_files(folder: Path) -> None:
    # A killed process leaves its unfinished file; one process writes to a run folder, so it is nobody's now.
    for partial in folder.glob(f".*{PARTIAL_SUFFIX}"):
        _unlink(partial)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A file system that has turned read-only keeps the leftover; the error that led here is the one to report.
        return


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _sync_folder(folder: Path) -> None:
    # Renaming is durable only once the folder is; some network file systems cannot do this for folders.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
