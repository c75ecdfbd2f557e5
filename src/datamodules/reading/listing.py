"""List the files of a folder or zip archive, check them before they are opened, and detect changes."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import UserError, format_bytes
from ...io.atomic import write_text
from ...io.hashing import bytes_hash
from ...io.untrusted import unpack_refusal, unreadable_reason
from ...pictures import MAX_FILE
from .cache import ADVICE
from .source import digest


@dataclass(frozen=True)
class Listing:
    """Files of a folder or zip archive.

    Args:
        path: the folder or archive.
        names: names within ``path``, sorted, with forward slashes.
        others: names of files with other endings.
        size: bytes of each of ``names``.
        unreadable: why some of all these files cannot be read, found without opening them.
    """

    path: Path
    names: tuple[str, ...]
    others: tuple[str, ...]
    sizes: tuple[int, ...]
    unreadable: dict[str, str]

    def reader(self) -> Callable[[str], bytes]:
        """Read a file by its name; create one reader per process. Raises ValueError for files that must not be read."""
        if self.path.is_dir():
            read = self._read_file
        else:
            archive = zipfile.ZipFile(self.path)
            read = archive.read

        def guarded(name: str) -> bytes:
            if name in self.unreadable:
                raise ValueError(self.unreadable[name])
            return read(name)

        return guarded

    def _read_file(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def head(self, count: int) -> Callable[[str], bytes]:
        """Read the first ``count`` bytes of a file; empty for unreadable files."""
        archive = None if self.path.is_dir() else zipfile.ZipFile(self.path)

        def read(name: str) -> bytes:
            if name in self.unreadable:
                return b""
            try:
                with archive.open(name) if archive else (self.path / name).open("rb") as file:
                    return file.read(count)
            except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError):
                return b""

        return read

    def files(self) -> list[Path]:
        """The files on the disk."""
        return [self.path] if self.path.is_file() else [self.path / n for n in self.names if n not in self.unreadable]

    def content_key(self, notes: Path) -> str:
        """SHA-256 over names and contents.

        An archive lists a checksum of each member. The files of a folder are read, unless names, sizes and times of
        change equal those of an earlier call that stored its result in the folder ``notes``.

        Raises:
            UserError: if ``notes`` cannot be written.
        """
        if not self.path.is_dir():
            with zipfile.ZipFile(self.path) as archive:
                members = {m.filename: (m.file_size, m.CRC) for m in archive.infolist()}
            return digest([(name, *members[name]) for name in self.names])
        prepare_arguments = [name for name in self.names if name not in self.unreadable]
        stats = [(self.path / name).stat() for name in prepare_arguments]
        listing = [(n, s.st_size, s.st_mtime_ns) for n, s in zip(prepare_arguments, stats, strict=True)]
        bad = sorted((name, self.unreadable[name]) for name in self.names if name in self.unreadable)
        note = notes / f"{digest([str(self.path.resolve()), *listing, *bad])}.key"
        if note.is_file():
            return note.read_text()
        with ThreadPoolExecutor() as pool:
            contents = [
                bytes.fromhex(key)
                for key in pool.map(lambda name: bytes_hash(self._read_file(name)), prepare_arguments)
            ]
        key = digest([*zip(prepare_arguments, contents, strict=True), *bad])
        write_text(note, key, ADVICE)
        return key


def list_files(path: Path, suffixes: frozenset[str]) -> Listing:
    """List the files with one of ``suffixes`` in a folder, with all its sub-folders, or in a zip archive.

    Hidden files and those of ``__MACOSX`` are skipped. Links that form a loop are followed once.

    Raises:
        UserError: ``path`` is neither a folder nor a zip archive, is damaged, encrypted, or cannot be read.
    """
    if path.is_dir():
        found = {name: (size, problem) for name, size, problem in _walk(path)}
    else:
        found = {name: (size, problem) for name, size, problem in _members(path)}
    wanted = sorted(name for name in found if _is_wanted(name, suffixes))
    return Listing(
        path,
        tuple(wanted),
        tuple(sorted(found.keys() - set(wanted))),
        tuple(found[name][0] for name in wanted),
        {name: problem for name, (_, problem) in found.items() if problem is not None},
    )


def _walk(path: Path) -> Iterator[tuple[str, int, str | None]]:
    """Name, size and problem of every file; each folder is visited once, whatever links lead to it."""
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(path, followlinks=True):
        here = Path(root).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders.sort()
        for file in files:
            name = (Path(root) / file).relative_to(path).as_posix()
            try:
                found = (Path(root) / file).stat()
            except OSError:
                yield name, 0, "a link to a missing file"
                continue
            if not stat.S_ISREG(found.st_mode):
                yield name, 0, "not a regular file"
            else:
                yield name, found.st_size, _too_large(found.st_size)


def _members(path: Path) -> Iterator[tuple[str, int, str | None]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} is not a complete zip archive ({error}): copy it again") from error
    if any(member.flag_bits & 1 for member in members):
        raise UserError(f"{path} is encrypted: unpack it with its password and give the folder")
    for member in members:
        yield (
            member.filename,
            member.file_size,
            _too_large(member.file_size) or unpack_refusal(member.file_size, member.compress_size),
        )


def _too_large(size: int) -> str | None:
    return None if size <= MAX_FILE else f"{format_bytes(size)}, more than the limit of {format_bytes(MAX_FILE)}"


def _is_wanted(name: str, suffixes: frozenset[str]) -> bool:
    parts = PurePosixPath(name).parts
    # Hidden files, and the resource forks in archives made on a Mac, have names of images but are not images.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in suffixes


def check_file(path: Path, setting: str) -> None:
    """Raise UserError unless ``path`` is an existing folder or regular file."""
    why = unreadable_reason(path)
    if why is not None and not os.path.isdir(path):  # noqa: PTH112 # the method raises for names that are too long
        raise UserError(f"{setting}={path} {why}: give {WANTED}")


WANTED = "a folder or zip archive of images, or a npy, npz, zarr or parquet file"
