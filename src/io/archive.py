"""Files of ``torch.save``, written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from .atomic import ADVICE, replacing


def write_archive(path: str | os.PathLike[str], content: Mapping[str, Any], advice: str = ADVICE) -> None:
    """Write tensors and plain values; raise UserError if the system refuses."""
    # torch hides the system error if it opens the file itself.
    with replacing(path, advice) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
