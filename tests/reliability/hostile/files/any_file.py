"""Kinds that apply to any file: another type of file in its place, and damaged bytes."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.reliability.hostile.files.kinds import Kinds, Make

PLACES, DAMAGE = Kinds("file"), Kinds("bytes")


@PLACES.kind("a pipe")
def _pipe(good: Path, bad: Path) -> None:
    os.mkfifo(bad)


def _link_to(target: str) -> Make:
    return lambda good, bad: bad.symlink_to(target)


PLACES.add("a link to an endless device", _link_to("/dev/zero"))
PLACES.add("a link to an empty device", _link_to("/dev/null"))
PLACES.add("a link to standard input", _link_to("/proc/self/fd/0"))
PLACES.add("a broken link", _link_to("nothing"))


@PLACES.kind("a link to itself")
def _looping_link(good: Path, bad: Path) -> None:
    bad.symlink_to(bad.name)


@PLACES.kind("a folder", harmless=True)
def _folder(good: Path, bad: Path) -> None:
    bad.mkdir()


@PLACES.kind("a socket")
def _socket(good: Path, bad: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(bad.parent)  # socket paths have a maximum length
        made.bind(bad.name)
        os.chdir(here)


@PLACES.kind("empty")
def _empty(good: Path, bad: Path) -> None:
    bad.touch()


@PLACES.kind("a sparse file of 8 TB")
def _sparse(good: Path, bad: Path) -> None:
    with bad.open("wb") as file:
        file.truncate(8 << 40)


@PLACES.kind("the valid file followed by 8 TB of zeros", harmless=True)
def _long_tail(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes())
    with bad.open("r+b") as file:
        file.truncate(8 << 40)


@PLACES.kind("text")
def _text(good: Path, bad: Path) -> None:
    bad.write_text("nothing that anybody asked for\n" * 100)


@PLACES.kind("random bytes")
def _noise(good: Path, bad: Path) -> None:
    bad.write_bytes(random.Random(0).randbytes(10_000))


def _changed(change: Callable[[bytearray, random.Random], None]) -> Make:
    def make(good: Path, bad: Path) -> None:
        content = bytearray(good.read_bytes())
        # The position differs between files and is the same in every run.
        change(content, random.Random(zlib.crc32(f"{bad.parent.name}/{bad.name}".encode())))
        bad.write_bytes(content)

    return make


def _cut(content: bytearray, draw: random.Random) -> None:
    del content[draw.randrange(1, len(content)) :]


def _flip(count: int) -> Callable[[bytearray, random.Random], None]:
    def change(content: bytearray, draw: random.Random) -> None:
        for _ in range(count):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)

    return change


def _zeros(content: bytearray, draw: random.Random) -> None:
    first = draw.randrange(len(content))
    content[first : first + 4096] = bytes(len(content[first : first + 4096]))


def _shifted(content: bytearray, draw: random.Random) -> None:
    content[0:0] = draw.randbytes(draw.randrange(1, 100))


for number in range(1, 4):
    DAMAGE.add(f"cut at a random place {number}", _changed(lambda c, d, n=number: [_cut(c, d) for _ in range(n)][:0]))
DAMAGE.add("cut by one byte", _changed(lambda content, _: content.__delitem__(-1)), harmless=True)
for number in (1, 10, 1000):
    DAMAGE.add(f"{number} flipped bits", _changed(_flip(number)), harmless=True)
DAMAGE.add("a page of zeros inside", _changed(_zeros), harmless=True)
DAMAGE.add("bytes before the file", _changed(_shifted), harmless=True)
DAMAGE.add("the file twice", _changed(lambda content, _: content.extend(content)), harmless=True)

KINDS = [*PLACES.all, *DAMAGE.all]
