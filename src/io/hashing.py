"""SHA-256 of files and of settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; the file is read once, in small pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_hash(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return bytes_hash(text.encode())


def settings_hash(settings: Any) -> str:
    """Eight hexadecimal digits that tell plain containers apart, whatever the order of their keys."""
    return text_hash(json.dumps(settings, sort_keys=True))[:8]


def listing_hash(files: Iterable[Path]) -> str:
    """A hash that changes when one of the files does: over names, sizes and times of change, not contents."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return text_hash(repr(stats))
