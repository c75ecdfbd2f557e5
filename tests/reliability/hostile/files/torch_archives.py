"""Damaged archives of ``torch.save``, and archives and pickles that run code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.reliability.hostile.files.kinds import Kinds

ARCHIVES = Kinds("torch")


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.target}'",)


def rewritten(good: Path, bad: Path, change: Callable[[str, bytes], bytes | None], compression: int = 0) -> None:
    """Copy a ``torch.save`` archive with changed records; leave out a record where ``change`` returns None."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w", compression) as target:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                target.writestr(name, content)


@ARCHIVES.kind("a checkpoint with an object that runs a program")
def _runs(good: Path, bad: Path) -> None:
    torch.save({**torch.load(good, weights_only=True), "x": Payload(bad.with_name("evil"))}, bad)


@ARCHIVES.kind("a plain pickle that runs a program")
def _plain(good: Path, bad: Path) -> None:
    bad.write_bytes(pickle.dumps({"state_dict": Payload(bad.with_name("evil"))}))


@ARCHIVES.kind("the legacy torch format")
def _legacy(good: Path, bad: Path) -> None:
    torch.save(torch.load(good, weights_only=True), bad, _use_new_zipfile_serialization=False)


@ARCHIVES.kind("a compressed archive")
def _deflated(good: Path, bad: Path) -> None:
    rewritten(good, bad, lambda name, content: content, zipfile.ZIP_DEFLATED)


@ARCHIVES.kind("missing records")
def _missing(good: Path, bad: Path) -> None:
    rewritten(good, bad, lambda name, content: None if "/data/" in name else content)


@ARCHIVES.kind("truncated records")
def _short(good: Path, bad: Path) -> None:
    rewritten(good, bad, lambda name, content: content[:3] if "/data/" in name else content)


@ARCHIVES.kind("a version from the future", harmless=True)
def _version(good: Path, bad: Path) -> None:
    rewritten(good, bad, lambda name, content: b"999\n" if name.endswith("version") else content)


@ARCHIVES.kind("an unknown byte order")
def _byteorder(good: Path, bad: Path) -> None:
    rewritten(good, bad, lambda name, content: b"middle" if name.endswith("byteorder") else content)


@ARCHIVES.kind("a TorchScript program")
def _jit(good: Path, bad: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), bad)


@ARCHIVES.kind("a single tensor")
def _single(good: Path, bad: Path) -> None:
    torch.save(torch.zeros(3), bad)


@ARCHIVES.kind("weights of another program")
def _other(good: Path, bad: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(3)}, "epoch": 3}, bad)


@ARCHIVES.kind("a zip archive of something else")
def _zip(good: Path, bad: Path) -> None:
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("readme.txt", "no weights")


PICKLES = {
    "an empty pickle": b"",
    "a truncated pickle": b"\x80\x02}q\x00(",
    "a pickle that pops from an empty stack": b"\x80\x02aaaaRRR.",
    "a text of 2^60 bytes in a pickle": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a.",
    "a number of 2^31 bytes in a pickle": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
    "a memo of 2^31 entries": b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".",
    "a pickle of a million nested lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "a pickle of an unknown protocol": b"\x80\x09}.",
    "a pickle that opens a file": b"\x80\x02cbuiltins\nopen\n(U\x04evilU\x01wtR.",
}
for name, content in PICKLES.items():
    ARCHIVES.add(
        name,
        lambda good, bad, content=content: rewritten(
            good, bad, lambda part, record, content=content: content if part.endswith("data.pkl") else record
        ),
    )


KINDS = ARCHIVES.all
