"""Safetensors files that are whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .atomic import ADVICE, replacing


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, advice: str = ADVICE
) -> None:
    """Write contiguous tensors by name; UserError when the system refuses."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path, advice) as temporary:
        try:
            save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # The library hides the system's error behind one of its own.
            raise OSError(str(error)) from error
