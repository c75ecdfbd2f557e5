"""Find out with which resize rule another program made a statistics file, as far as the file shows it."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

RULES = ("tf", "pytorch", "clean")

_NAMES = {"legacy_pytorch": "pytorch", "legacy_tensorflow": "tf", "_clean": "clean"}
"""Parts of the file names that clean-fid uses."""


def resize_of(path: str | Path, keys: Collection[str]) -> str | None:
    """Return ``tf``, ``pytorch`` or ``clean`` if the file shows the rule beyond doubt, else None.

    Args:
        path: the file; only its name is used.
        keys: names of its arrays.
    """
    if "pool_3" in keys:
        return "tf"  # score_sde, which runs the TensorFlow graph
    stem = Path(path).stem
    return next((resize for part, resize in _NAMES.items() if part in stem), None)


def advice(path: str | Path) -> str:
    """A hint for files that contain only ``mu`` and ``sigma``."""
    with zipfile.ZipFile(path) as archive:
        compressed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
    if compressed:
        return "it is compressed like files of pytorch-fid, which need metric.extractor.resize=pytorch"
    return "files of EDM need metric.extractor.resize=tf, files of pytorch-fid resize=pytorch"
