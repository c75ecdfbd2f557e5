"""Decoded sets on disk: one folder with ``images.npy``, ``labels.npy`` and ``meta.json`` for each."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ...errors import UserError, format_bytes
from ...io.atomic import Refusal, remove_leftovers, replacing
from ...io.untrusted import read_json

ADVICE = "free disk space or set datamodule.data_dir to another folder"

_log = logging.getLogger(__name__)


def ensure(folder: Path, build: Callable[[Path], None]) -> Path:
    """Create ``folder``, complete, in one process; other processes that ask for it wait.

    The folder gets its name only when it is complete.

    Args:
        folder: the folder to create.
        build: function that fills an empty folder.

    Returns:
        ``folder``.

    Raises:
        UserError: ``folder`` cannot be written.
    """
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    lock = FileLock(folder.parent / f"{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("waiting for another process to prepare %s", folder)
        lock.acquire()
    try:
        if not folder.is_dir():
            # While the lock is held, no process writes to the files that an interrupted run left.
            remove_leftovers(folder.parent, folder.name)
            with replacing(folder, ADVICE) as temporary:
                temporary.mkdir()
                build(temporary)
    finally:
        lock.release()
    return folder


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and check that it can be written to.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission")
    except OSError as error:
        raise Refusal(folder, error.strerror or str(error), ADVICE) from error


def create_images(
    folder: Path, count: int, shape: tuple[int, ...], dtype: str = "uint8"
) -> np.memmap[Any, np.dtype[Any]]:
    """Create a zero-filled memory map ``images.npy`` with ``count`` rows of ``shape``.

    Raises:
        UserError: the disk has no room for it.
    """
    needed = count * math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{count} decoded images need {format_bytes(needed)}, but {folder.parent} has {format_bytes(free)} "
            f"free: set datamodule.data_dir to a larger disk or reduce datamodule.image_size"
        )
    return np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.dtype(dtype), shape=(count, *shape))


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write the data of the images that are not arrays."""
    (folder / "meta.json").write_text(json.dumps(meta))


def read_meta(folder: Path) -> dict[str, Any]:
    """Return what ``write_meta`` wrote.

    Raises:
        UserError: the file is damaged.
    """
    try:
        meta: dict[str, Any] = read_json(folder / "meta.json")
    except ValueError as error:
        raise UserError(f"{folder} is damaged ({error}): delete it and start again") from error
    return meta
