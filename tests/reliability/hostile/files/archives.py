"""Zip archives: encrypted, inconsistent, with paths outside the folder, and larger than memory when unpacked."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.reliability.hostile.files.kinds import Kinds
from tests.reliability.hostile.files.pictures import png

ARCHIVES = Kinds("zip of pictures")


def packed(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _add(name: str, content: bytes, harmless: bool = False) -> None:
    ARCHIVES.add(name, lambda good, bad: bad.write_bytes(content), harmless)


def changed(content: bytes, offset: int, value: bytes, *, local: int | None = None) -> bytes:
    """Return the archive with ``value`` at ``offset`` of its first directory entry, and at ``local`` in the file."""
    made = bytearray(content)
    at = made.index(b"PK\x01\x02")
    made[at + offset : at + offset + len(value)] = value
    if local is not None:
        made[local : local + len(value)] = value
    return bytes(made)


_PICTURES = {f"{i}.png": png(8, 8) for i in range(40)}
_GOOD = packed(_PICTURES)
_STORED = packed(_PICTURES, zipfile.ZIP_STORED)

_add("encrypted", changed(_GOOD, 8, b"\x01\x00", local=6))
_add("an unknown compression method", changed(_GOOD, 10, b"\x63\x00", local=8))
_add("a wrong checksum", changed(_GOOD, 16, b"abcd", local=14))
_add("an unpacked size that is too small", changed(_GOOD, 24, struct.pack("<I", 5)))
_add("an unpacked size of 4 GB", changed(_GOOD, 24, struct.pack("<I", 2**32 - 2)))
_add("a member beyond the end", changed(_GOOD, 42, struct.pack("<I", 10**9)))
_add("a member that begins inside another", changed(_STORED, 42, struct.pack("<I", 40)))
_add("different names in member and directory", changed(_GOOD, 46, b"9"), harmless=True)
_add("no members", packed({}))
_add("only folders", packed({"a/": b"", "b/": b""}))
_add("a path outside the folder", packed(_PICTURES | {"../../evil.png": png(8, 8)}), harmless=True)
_add("an absolute path", packed(_PICTURES | {"/tmp/evil.png": png(8, 8)}), harmless=True)
_add("a Windows path", packed(_PICTURES | {"C:\\evil.png": png(8, 8)}), harmless=True)
_add("a broken picture with a line break in its name", packed(_PICTURES | {"a\nerror: b.png": b"no picture"}))
_add("a broken picture with terminal codes in its name", packed(_PICTURES | {"\x1b[2J\x1b]0;x\x07.png": b"no picture"}))
_add("a name of 60,000 letters", packed(_PICTURES | {"a" * 60_000 + ".png": b"no picture"}))
_add("a thousand nested folders", packed(_PICTURES | {"a/" * 1000 + "x.png": png(8, 8)}), harmless=True)
_add("an archive in an archive", packed({"a.zip": _GOOD}))
_add("zip64 with sizes of 2^63", _GOOD[:-22] + b"PK\x06\x06" + struct.pack("<Q", 44) + b"\xff" * 44 + _GOOD[-22:])
_add("an end record with 65535 members", _GOOD[:-14] + b"\xff\xff\xff\xff" + _GOOD[-10:], harmless=True)
_add("a directory of 4 GB", _GOOD[:-10] + b"\xfe\xff\xff\xff" + _GOOD[-6:])


@ARCHIVES.kind("a duplicate name", harmless=True)
def _twice(good: Path, bad: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(bad, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in [*_PICTURES.items(), ("0.png", b"no picture")]:
            archive.writestr(name, content)


@ARCHIVES.kind("a picture of 600 MB of zeros")
def _bomb(good: Path, bad: Path) -> None:
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _PICTURES.items():
            archive.writestr(name, content)
        with archive.open("bomb.png", "w") as file:
            for _ in range(600):
                file.write(bytes(1 << 20))


@ARCHIVES.kind("one member 60,000 times", harmless=False)
def _many(good: Path, bad: Path) -> None:
    # One directory entry, repeated.
    one = packed({"0.png": b"no picture"}, zipfile.ZIP_STORED)
    at, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    count = 60_000
    directory = one[at:end] * count
    sizes = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)
    bad.write_bytes(one[:at] + directory + sizes)


KINDS = ARCHIVES.all
