"""SHA-256 of files and of settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read once in small pieces."""
    with Path(path).open("rb") as file:
        return stream_hash(file)


def stream_hash(file: BufferedReader) -> str:
    """Return the SHA-256 of the rest of an open file in hexadecimal."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def pieces_hash(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the concatenated pieces in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def bytes_hash(content: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return pieces_hash([content])


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return bytes_hash(text.encode())


def settings_hash(settings: Any) -> str:
    """Return eight hexadecimal digits that identify plain containers, independent of the order of keys."""
    return text_hash(json.dumps(settings, sort_keys=True))[:8]
