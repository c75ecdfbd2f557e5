"""Which resize rule a statistics file of another program was made with, as far as the file shows it."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

RULES = ("tf", "pytorch", "clean")

_NAMES = {"legacy_pytorch": "pytorch", "legacy_tensorflow": "tf", "_clean": "clean"}
"""Parts of the names that clean-fid gives to its files."""


def resize_of(path: str | Path, keys: Collection[str]) -> str | None:
    """``tf``, ``pytorch`` or ``clean`` where the file leaves no doubt, None otherwise.

    Args:
        path: its name is looked at.
        keys: names of its arrays.
    """
    if "pool_3" in keys:
        return "tf"  # score_sde, which runs the TensorFlow graph
    stem = Path(path).stem
    return next((resize for part, resize in _NAMES.items() if part in stem), None)


def advice(path: str | Path) -> str:
    """A sentence for files of ``mu`` and ``sigma`` that say nothing else."""
    with zipfile.ZipFile(path) as archive:
        compressed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
    if compressed:
        return "it is compressed as those of pytorch-fid, which belong to metric.extractor.resize=pytorch"
    return "files of EDM belong to metric.extractor.resize=tf, those of pytorch-fid to resize=pytorch"
