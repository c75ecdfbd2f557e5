"""Reading checkpoints without trusting them: whole files, tensors and plain values only, this project's layout.

A file of ``torch.save`` is a zip archive; each record carries a CRC, so every record is checked before any is used.
The pickle inside is read by torch's restricted unpickler, which builds tensors and containers and runs no code.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import UserError
from ..io.hashing import file_hash
from .older import up_to_date

NET_PREFIX = "model.net."
"""What the names of the raw net weights begin with in ``state_dict``."""

_ZIP_MAGIC = b"PK\x03\x04"
_AGAIN = "use another checkpoint of the run, or copy it again"
_WHERE = "give a .ckpt file from logs/<name>/<time>/checkpoints"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint of this project, on the CPU.

    Args:
        path: the file.

    Returns:
        Its content; ``state_dict``, ``global_step`` and ``config`` with ``model`` are there, ``ema`` may be.

    Raises:
        UserError: in one line, if the file is missing, truncated, damaged, of another kind, holds objects other than
            tensors and plain values, or lacks what this version needs.
    """
    return checked(load_archive(path), path)


def checked(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """``checkpoint``, read from ``path``, if it has this project's layout; UserError as ``read_checkpoint`` if not."""
    state, config, averages = (checkpoint.get(key) for key in ("state_dict", "config", "ema"))
    present = {
        f"state_dict with tensors {NET_PREFIX}*": _is_named_tensors(state)
        and any(name.startswith(NET_PREFIX) for name in state),
        "config.model": isinstance(config, Mapping) and isinstance(config.get("model"), Mapping),
        "global_step": isinstance(checkpoint.get("global_step"), int),
        "ema with tensors by name": averages is None
        or (isinstance(averages, Mapping) and all(map(_is_named_tensors, averages.values()))),
    }
    missing = [what for what, found in present.items() if not found]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: it comes from another program or an older version of this one; "
            f"use the version that wrote it, or {_WHERE}"
        )
    return checkpoint | {"config": up_to_date(config)}


def load_archive(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """The dictionary in a file of ``torch.save``, after every record has passed its CRC; no layout is required.

    Raises:
        UserError: as ``read_checkpoint``, except for missing keys.
    """
    with _open(path) as file:
        _verify(file, path)
        file.seek(0)
        try:
            content = torch.load(file, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{path} holds Python objects other than tensors and plain values, which are never loaded because "
                f"they could run code: {_WHERE}"
            ) from error
        except Exception as error:
            raise UserError(f"{path} cannot be loaded ({_first_line(error)}): {_WHERE}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint: {_WHERE}")
    return content


def check_intact(path: str | os.PathLike[str]) -> None:
    """Read ``path`` from end to end and compare every record with its CRC, without loading it.

    Raises:
        UserError: if it is missing, truncated, damaged or no torch archive.
    """
    with _open(path) as file:
        _verify(file, path)


def global_step(path: str | os.PathLike[str]) -> int:
    """The optimiser step of a checkpoint; tensors are mapped, not read, so this is quick for files of any size.

    Raises:
        UserError: if the file cannot be understood.
    """
    try:
        return int(glance(path)["global_step"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} has no readable step ({_first_line(error)}): {_WHERE}") from error


def glance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint holds, with tensors mapped instead of read and nothing verified: quick for files of any size.

    Raises:
        UserError: if the file cannot be understood.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read ({_first_line(error)}): {_WHERE}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint: {_WHERE}")
    return content | {"config": up_to_date(content["config"])} if "config" in content else content


def checkpoint_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file, in hexadecimal."""
    _open(path).close()
    return file_hash(Path(path))


def _open(path: str | os.PathLike[str]) -> BufferedReader:
    file = Path(path)
    if not file.is_file():
        kind = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise UserError(f"checkpoint {file} {kind}: {_WHERE}")
    try:
        return file.open("rb")
    except OSError as error:
        raise UserError(f"checkpoint {file} cannot be opened ({error.strerror}): check its permissions") from error


def _verify(file: BufferedReader, path: str | os.PathLike[str]) -> None:
    magic = file.read(len(_ZIP_MAGIC))
    if not _ZIP_MAGIC.startswith(magic):
        raise UserError(f"{path} is no checkpoint (not a torch archive): {_WHERE}")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            broken = archive.testzip()
    # A damaged directory of the archive makes zipfile fail in many ways, few of them documented.
    except Exception as error:
        raise UserError(f"{path} is truncated or damaged ({_first_line(error)}): {_AGAIN}") from error
    if broken is not None:
        raise UserError(f"{path} is damaged (wrong checksum of {broken}): {_AGAIN}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise UserError(f"{path} is a zip archive but no checkpoint: {_WHERE}")


def _is_named_tensors(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
