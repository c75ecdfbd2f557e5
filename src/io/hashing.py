"""SHA-256 of files and of settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read once in small pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_hash(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return bytes_hash(text.encode())


def settings_hash(settings: Any) -> str:
    """Return eight hexadecimal digits that identify plain containers, independent of the order of keys."""
    return text_hash(json.dumps(settings, sort_keys=True))[:8]


def listing_hash(files: Iterable[Path]) -> str:
    """Return a hash of names, sizes and modification times of files, without reading their contents."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return text_hash(repr(stats))
