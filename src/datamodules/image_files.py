"""Finding image files in a folder or a zip archive, and telling whether they have changed."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..io.atomic import write_text
from .cache import ADVICE, make_folder

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class ImageFiles:
    """The images of a folder or zip archive.

    Args:
        path: the folder or archive.
        names: names within ``path``, sorted, with forward slashes.
        ignored: number of files that are no images by their name.
    """

    path: Path
    names: tuple[str, ...]
    ignored: int

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Sorted names of the class folders; empty unless every image lies in one.

        Folders that all images share are no classes: the class is the first folder below them.
        """
        return tuple(sorted(set(self._folders) - {""}))

    def labels(self) -> list[int]:
        """Number of the class of every image; only if there are ``classes``."""
        numbers = {name: i for i, name in enumerate(self.classes)}
        return [numbers[folder] for folder in self._folders]

    @cached_property
    def _folders(self) -> list[str]:
        """For every image the first folder below those that all share; all empty if one image lies in none."""
        paths = [PurePosixPath(name).parent.parts for name in self.names]
        shared = 0
        while all(len(parts) > shared and parts[shared] == paths[0][shared] for parts in paths):
            shared += 1
        if any(len(parts) == shared for parts in paths):
            return [""] * len(paths)
        return [parts[shared] for parts in paths]

    def reader(self) -> Callable[[str], bytes]:
        """Reads a file by its name; make one in every process."""
        if self.path.is_dir():
            return lambda name: (self.path / name).read_bytes()
        archive = zipfile.ZipFile(self.path)
        return archive.read

    def content_key(self, notes: Path) -> str:
        """SHA-256 over names and contents.

        An archive lists a checksum of each member. The files of a folder are read, unless names, sizes and times of
        change are those of an earlier call that left its result in the folder ``notes``.

        Raises:
            UserError: if ``notes`` cannot be written.
        """
        if not self.path.is_dir():
            with zipfile.ZipFile(self.path) as archive:
                members = {m.filename: (m.file_size, m.CRC) for m in archive.infolist()}
            return _digest([(name, *members[name]) for name in self.names])
        stats = [(self.path / name).stat() for name in self.names]
        listing = [(n, s.st_size, s.st_mtime_ns) for n, s in zip(self.names, stats, strict=True)]
        note = notes / f"{_digest([str(self.path.resolve()), *listing])}.key"
        if note.is_file():
            return note.read_text()
        with ThreadPoolExecutor() as pool:
            contents = pool.map(lambda name: hashlib.sha256((self.path / name).read_bytes()).digest(), self.names)
            key = _digest(list(zip(self.names, contents, strict=True)))
        make_folder(notes)
        write_text(note, key, ADVICE)
        return key


def find_images(path: Path) -> ImageFiles:
    """The images of a folder, with all its sub-folders, or of a zip archive.

    Raises:
        UserError: if ``path`` is missing, is neither, is damaged or holds no image.
    """
    if path.is_dir():
        walk = os.walk(path, followlinks=True)
        names = [(Path(root) / file).relative_to(path).as_posix() for root, _, files in walk for file in files]
    elif not path.exists():
        raise UserError(f"{path} does not exist: set datamodule.path to a folder or zip archive of images")
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [member.filename for member in archive.infolist() if not member.is_dir()]
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{path} is no complete zip archive ({error}): copy it again") from error
    images = sorted(name for name in names if _is_image(name))
    if not images:
        raise UserError(f"{path} holds no image (among {len(names)} files): known are {', '.join(sorted(SUFFIXES))}")
    return ImageFiles(path, tuple(images), len(names) - len(images))


def _is_image(name: str) -> bool:
    parts = PurePosixPath(name).parts
    # Hidden files and the resource forks in archives made on a Mac bear the names of images without being any.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SUFFIXES


def _digest(items: Sequence[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, items)).encode()).hexdigest()
