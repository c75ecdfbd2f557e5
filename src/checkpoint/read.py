"""Read checkpoints without trusting them: complete files, only tensors and plain values, this project's layout.

A file of ``torch.save`` is a zip archive. Each record carries a CRC, and every record is checked before any is used.
The pickle inside is read by torch's restricted unpickler, which builds tensors and containers and runs no code.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import UserError, first_line
from ..io.hashing import stream_hash
from ..io.safetensors import check_size
from ..io.untrusted import check_readable
from .legacy import upgrade_node
from .plain import check_plain
from .verify import WHERE, verified

MAX_PICKLE = 1 << 34
"""Maximum size of a checkpoint in a format without a length in its header."""

_MOST_STEPS = 2**48

NET_PREFIX = "model.net."
"""Prefix of the raw weights of the net in ``state_dict``."""


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint in memory.

    Attributes:
        path: file it was read from.
        digest: SHA-256 of the file.
        content: what the file holds.
    """

    path: Path
    digest: str
    content: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer step after which the checkpoint was written."""
        return int(self.content["global_step"])

    @property
    def point(self) -> tuple[str, int, str]:
        """File, step and SHA-256, which identify a checkpoint."""
        return str(self.path), self.step, self.digest


_pinned: dict[str, BufferedReader] = {}


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of this project to the CPU.

    Args:
        path: the file.

    Returns:
        Its content; ``state_dict``, ``global_step`` and ``config`` with ``model`` are there, ``ema`` may be.

    Raises:
        UserError: in one line, if the file is missing, truncated, damaged, of another kind, contains objects other than
            tensors and plain values, or lacks something that this version needs.
    """
    return open_verified(path).content


def checked(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return ``checkpoint``, read from ``path``, if it has this project's layout; raise UserError as
    ``read_checkpoint`` if not.
    """
    state, config, averages = (checkpoint.get(key) for key in ("state_dict", "config", "ema"))
    present = {
        f"state_dict with tensors {NET_PREFIX}*": _is_named_tensors(state)
        and any(name.startswith(NET_PREFIX) for name in state),
        "config.model": isinstance(config, Mapping) and isinstance(config.get("model"), Mapping),
        "global_step": is_step(checkpoint.get("global_step")),
        "ema with tensors by name": averages is None
        or (
            isinstance(averages, Mapping)
            and all(
                isinstance(name, str) and weights and _is_named_tensors(weights) for name, weights in averages.items()
            )
        ),
    }
    missing = [what for what, found in present.items() if not found]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: it comes from another program or an older version of this one; "
            f"use the version that wrote it, or {WHERE}"
        )
    return checkpoint | {"config": _plain(config, path)}


def load_archive(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """Return the dictionary in a file of ``torch.save`` after checking the CRC of every record; no layout is required.

    Raises:
        UserError: as ``read_checkpoint``, except for missing keys.
    """
    return open_archive(path, map_location).content


def open_archive(path: str | os.PathLike[str], map_location: Any = "cpu") -> OpenCheckpoint:
    """Verify, hash and load a file of ``torch.save``, in one pass for the first two and one for the last.

    Content and hash belong together even if another process replaces the file meanwhile.

    Raises:
        UserError: as ``read_checkpoint``, except for missing keys.
    """
    with _open(path) as file:
        digest = verified(file, path)
        file.seek(0)
        try:
            with _no_warnings():
                content = torch.load(file, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{path} contains Python objects other than tensors and plain values, which are never loaded because "
                f"they could run code: {WHERE}"
            ) from error
        except Exception as error:
            raise UserError(f"{path} cannot be loaded ({first_line(error)}): {WHERE}") from error
    _unpin(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} contains a {type(content).__name__}, not a checkpoint: {WHERE}")
    return OpenCheckpoint(Path(path), digest, content)


def open_verified(path: str | os.PathLike[str]) -> OpenCheckpoint:
    """Verify, hash and load a checkpoint of this project to the CPU; raise as ``read_checkpoint``."""
    opened = open_archive(path)
    return replace(opened, content=checked(opened.content, path))


def pin(path: Path) -> None:
    """Keep the present content of ``path`` readable for this process until it is loaded.

    A running training may remove or replace its checkpoints; this process still loads the file that it found.

    Raises:
        UserError: the file is missing, truncated, damaged or not a torch archive.
    """
    _unpin(path)
    file = _open_file(path)
    try:
        verified(file, path)
    except UserError:
        file.close()
        raise
    _pinned[str(path)] = file


def global_step(path: str | os.PathLike[str]) -> int:
    """Return the optimizer step of a checkpoint. Tensors are mapped, not read, so this is fast for files of any size.

    Raises:
        UserError: if the file cannot be understood.
    """
    try:
        return int(peek_checkpoint(path)["global_step"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} has no readable step ({first_line(error)}): {WHERE}") from error


def peek_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint with mapped tensors, without verification; fast for files of any size.

    Raises:
        UserError: if the file cannot be understood.
    """
    try:
        with _open(path) as file, _no_warnings():
            # Read the file of this descriptor, even if another file has its name by now.
            content = torch.load(f"/dev/fd/{file.fileno()}", map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): {WHERE}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} contains a {type(content).__name__}, not a checkpoint: {WHERE}")
    return content | {"config": _plain(content["config"], path)} if "config" in content else content


def _plain(config: Any, path: str | os.PathLike[str]) -> Any:
    """Return the configuration of the file ``path``, with the present names of its classes."""
    check_plain(config, str(path), WHERE)
    return upgrade_node(config)


def checkpoint_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file in hexadecimal; an archive of ``torch.save`` is verified in the same pass.

    Raises:
        UserError: the file cannot be read, or is a damaged archive.
    """
    with _open(path) as file:
        if Path(path).suffix in (".ckpt", ".pth"):
            return verified(file, path)
        if Path(path).suffix == ".safetensors":
            check_size(path)
        else:
            check_readable(path, WHERE, MAX_PICKLE)
        return stream_hash(file)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence torch's warnings about pickle protocols and kinds of tensors that are refused here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(path: str | os.PathLike[str]) -> BufferedReader:
    if pinned := _pinned.get(str(path)):
        return open(f"/dev/fd/{pinned.fileno()}", "rb")  # noqa: PTH123 # no path of the file system
    return _open_file(path)


def _open_file(path: str | os.PathLike[str]) -> BufferedReader:
    check_readable(path, WHERE)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error


def _unpin(path: str | os.PathLike[str]) -> None:
    if pinned := _pinned.pop(str(path), None):
        pinned.close()


def is_step(value: Any) -> bool:
    """Whether ``value`` is a valid number of optimizer steps."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_STEPS


def is_tensor(value: Any) -> TypeGuard[Tensor]:
    """Whether ``value`` is a dense tensor of numbers in memory: not sparse, not quantized, with content."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_quantized
        and not value.is_complex()
    )


def _is_named_tensors(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(value, Mapping) and all(isinstance(k, str) and is_tensor(v) for k, v in value.items())
