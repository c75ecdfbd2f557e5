"""Safetensors files, written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from .atomic import ADVICE, replacing


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, advice: str = ADVICE
) -> None:
    """Write contiguous tensors by name; raise UserError if the system refuses."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path, advice) as temporary:
        try:
            save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # The library wraps the system error in its own.
            raise OSError(str(error)) from error


def check_size(path: str | os.PathLike[str]) -> None:
    """Raise UserError unless the file is as long as its header declares; only the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): export it again, or give another file") from error
