"""Decoding of many image files by all cores, straight into a memory map."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..progress import Progress
from .decoding import to_bytes
from .image_files import ImageFiles

_MAX_CHUNK = 256


@dataclass(frozen=True)
class DecodeReport:
    """What became of the files.

    Args:
        broken: (row, name, reason) of every image that could not be read; its row stays black.
        enlarged: number of images whose shorter side was below the wanted size.
    """

    broken: list[tuple[int, str, str]]
    enlarged: int


def decode(files: ImageFiles, images: Path, image_size: int, channels: int, workers: int | None) -> DecodeReport:
    """Decodes ``files``, in order, into the existing map ``images``.

    Args:
        files: what to decode.
        images: uint8 .npy file of shape (N, channels, image_size, image_size).
        image_size: height and width.
        channels: 1 or 3.
        workers: processes; None for one per core.

    Raises:
        UserError: if the system has ended a process.
    """
    total = len(files.names)
    workers = min(workers or _cores(), total)
    chunk = max(1, min(_MAX_CHUNK, total // (4 * workers)))
    chunks = [range(first, min(first + chunk, total)) for first in range(0, total, chunk)]
    broken: list[tuple[int, str, str]] = []
    enlarged = 0
    arguments = (files, images, image_size, channels)
    try:
        with Progress(f"decoding {files.path.name}", total) as progress, _mapper(workers, arguments) as run:
            for rows, part in run(chunks):
                broken += part.broken
                enlarged += part.enlarged
                progress.add(len(rows))
    except BrokenProcessPool as error:
        raise UserError(
            f"a process that decoded {files.path} was ended by the system, probably for want of memory: "
            f"set datamodule.decode_workers below {workers}"
        ) from error
    return DecodeReport(sorted(broken), enlarged)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_Arguments = tuple[ImageFiles, Path, int, int]
_Run = Callable[[list[range]], Iterator[tuple[range, DecodeReport]]]


@contextmanager
def _mapper(workers: int, arguments: _Arguments) -> Iterator[_Run]:
    if workers == 1:
        decoder = _Decoder(arguments)
        yield lambda chunks: ((rows, decoder(rows)) for rows in chunks)
        return
    # A spawned process would import the script that was started, with all its libraries, once per core.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (arguments,)) as pool:

        def run(chunks: list[range]) -> Iterator[tuple[range, DecodeReport]]:
            futures = {pool.submit(_work, rows): rows for rows in chunks}
            for future in as_completed(futures):
                yield futures[future], future.result()

        yield run


class _Decoder:
    def __init__(self, arguments: _Arguments) -> None:
        self.files, path, self.image_size, self.channels = arguments
        self.images: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r+")
        self.read = self.files.reader()

    def __call__(self, rows: range) -> DecodeReport:
        from PIL import Image

        broken: list[tuple[int, str, str]] = []
        enlarged = 0
        for row in rows:
            name = self.files.names[row]
            try:
                content = self.read(name)
                if not content:
                    raise ValueError("empty file")
                with Image.open(io.BytesIO(content)) as image:
                    enlarged += min(image.size) < self.image_size
                    self.images[row] = to_bytes(image, self.image_size, self.channels)
            # Whatever a decoder raises on bytes from outside (there are a dozen kinds) is a broken image.
            except Exception as error:
                reason = "not an image" if type(error).__name__ == "UnidentifiedImageError" else str(error)
                broken.append((row, name, " ".join(reason.split())))
        return DecodeReport(broken, enlarged)


_decoder: _Decoder | None = None


def _start_worker(arguments: _Arguments) -> None:
    global _decoder
    _decoder = _Decoder(arguments)


def _work(rows: range) -> DecodeReport:
    assert _decoder is not None
    return _decoder(rows)
