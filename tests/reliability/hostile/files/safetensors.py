"""Safetensors files with false headers or a harmful configuration."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability.hostile.files.kinds import Kinds

TENSORS, SAFETENSORS = Kinds("tensors"), Kinds("safetensors")


def safetensors(header: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with exactly this header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + content


def parts(good: Path) -> tuple[dict[str, Any], bytes]:
    """Return header and tensors of a file."""
    content = good.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def _header(kinds: Kinds, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    def make(good: Path, bad: Path) -> None:
        header, content = parts(good)
        change(header)
        bad.write_bytes(safetensors(json.dumps(header).encode(), content))

    kinds.add(name, make)


def _bytes(name: str, content: bytes) -> None:
    TENSORS.add(name, lambda good, bad: bad.write_bytes(content))


_bytes("a header of 2^60 bytes", safetensors(b"{}", length=2**60))
_bytes("a header that is not JSON", safetensors(b"not JSON"))
_bytes("a header nested 100,000 times", safetensors(b'{"a":' * 100_000))
_bytes("no tensors", safetensors(b'{"__metadata__": {"format": "score-sde"}}'))
_header(SAFETENSORS, "the format of another program", lambda h: h["__metadata__"].update(format="pt"))
_header(SAFETENSORS, "no configuration", lambda h: h["__metadata__"].pop("config"))
_header(SAFETENSORS, "a configuration that is not JSON", lambda h: h["__metadata__"].update(config="{"))
_header(SAFETENSORS, "a configuration that is a list", lambda h: h["__metadata__"].update(config="[]"))
_header(SAFETENSORS, "a configuration nested 100,000 times", lambda h: h["__metadata__"].update(config="[" * 100_000))
_header(
    SAFETENSORS, "a configuration of one number of 5,000 digits", lambda h: h["__metadata__"].update(config="9" * 5000)
)
_header(SAFETENSORS, "a step that is a string", lambda h: h["__metadata__"].update(global_step="last"))
_header(SAFETENSORS, "a step of 5,000 digits", lambda h: h["__metadata__"].update(global_step="9" * 5000))
_header(
    SAFETENSORS,
    "an environment variable",
    lambda h: h["__metadata__"].update(config=h["__metadata__"]["config"].replace('"swish"', '"${oc.env:HOME}"')),
)
_header(TENSORS, "tensors that overlap", lambda h: _first_tensor(h).update(data_offsets=[0, 4]))
_header(TENSORS, "a tensor beyond the end", lambda h: _first_tensor(h).update(data_offsets=[0, 10**12]))
_header(TENSORS, "a tensor of 2^62 numbers", lambda h: _first_tensor(h).update(shape=[2**62]))
_header(TENSORS, "an unknown type", lambda h: _first_tensor(h).update(dtype="Z9"))


def _first_tensor(header: dict[str, Any]) -> dict[str, Any]:
    return next(value for key, value in header.items() if key != "__metadata__")


KINDS = [*TENSORS.all, *SAFETENSORS.all]
