"""Decode many rows with all cores, directly into a memory map."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...pictures import fit_picture
from ...pictures.resize import covering_size
from ...progress import Progress
from .source import Source

_MAX_CHUNK = 256
_CROPPED = 0.02


@dataclass(frozen=True)
class DecodeReport:
    """The result of decoding.

    Args:
        broken: (row, name, reason) of every row that could not be read; it stays zero.
        enlarged: number of images that did not cover the wanted size.
        cropped: number of images of which more than 2 % of the area was cut off.
        most_cropped: the largest share of an image that was cut off.
        low: smallest value.
        high: largest value.
    """

    broken: list[tuple[int, str, str]]
    enlarged: int = 0
    cropped: int = 0
    most_cropped: float = 0.0
    low: float = math.inf
    high: float = -math.inf


def decode(
    source: Source, images: Path, workers: int | None, value_range: Sequence[float] | None = None
) -> DecodeReport:
    """Decode ``source``, in order, into the existing map ``images``.

    Args:
        source: what to decode.
        images: .npy file of shape (N, C, H, W) or (N, D).
        workers: processes; None for one per core.
        value_range: range that rows of another dtype than that of ``images`` are scaled to; None for all of the dtype.

    Raises:
        UserError: the system ended a process.
    """
    total = len(source)
    workers = min(workers or _cores(), total) if source.parallel else 1
    chunk = max(1, min(_MAX_CHUNK, total // (4 * workers)))
    chunks = [range(first, min(first + chunk, total)) for first in range(0, total, chunk)]
    parts: list[DecodeReport] = []
    try:
        with (
            Progress(f"decoding {source.path.name}", total) as progress,
            _mapper(workers, (source, images, value_range)) as run,
        ):
            for rows, part in run(chunks):
                parts.append(part)
                progress.add(len(rows))
    except BrokenProcessPool as error:
        raise UserError(
            f"the system ended a process that decoded {source.path}, probably for lack of memory: "
            f"set datamodule.decode_workers below {workers}"
        ) from error
    return DecodeReport(
        sorted(entry for part in parts for entry in part.broken),
        sum(part.enlarged for part in parts),
        sum(part.cropped for part in parts),
        max(part.most_cropped for part in parts),
        min(part.low for part in parts),
        max(part.high for part in parts),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


_Arguments = tuple[Source, Path, Sequence[float] | None]
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
        self.source, path, self.value_range = arguments
        self.images: np.ndarray = np.load(path, mmap_mode="r+")
        self.shape = self.images.shape[1:]
        self.read = self.source.reader(self.shape[0] if len(self.shape) == 3 else None)

    def __call__(self, rows: Sequence[int]) -> DecodeReport:
        broken: list[tuple[int, str, str]] = []
        enlarged, lost, low, high = 0, [0.0], math.inf, -math.inf
        for row in rows:
            try:
                values = self.read(row)
                if len(self.shape) == 3:
                    share = _share_cut_off(values.shape, self.shape)
                    small = values.shape[1] < self.shape[1] or values.shape[2] < self.shape[2]
                    values = fit_picture(values, (self.shape[1], self.shape[2]))
                    enlarged += small
                    lost.append(share)
                flat = scaled(values.reshape(self.shape), self.images.dtype, self.value_range)
                if not np.isfinite(flat).all():
                    raise ValueError("NaN or infinite values")
                self.images[row] = flat
                low, high = min(low, float(flat.min())), max(high, float(flat.max()))
            # A decoder may raise any of a dozen exceptions on damaged files; the row then counts as broken.
            except Exception as error:
                broken.append((row, self.source.name(row), " ".join(str(error).split()) or type(error).__name__))
        cropped = sum(share > _CROPPED for share in lost)
        return DecodeReport(broken, enlarged, cropped, max(lost), low, high)


def scaled(values: np.ndarray, dtype: np.dtype, value_range: Sequence[float] | None) -> np.ndarray:
    """Convert values to ``dtype``: whole ranges are mapped onto each other, and rounded.

    Raises:
        ValueError: floats for a whole-number type, because their range is unknown.
    """
    if values.dtype == dtype:
        return values
    if values.dtype.kind == "f":
        if dtype.kind == "f":
            return values.astype(dtype)
        raise ValueError(f"{values.dtype} values for data of {dtype}: convert them, or set datamodule.dtype=null")
    whole = (0.0, 1.0) if dtype.kind == "f" else (0.0, float(np.iinfo(dtype).max))
    low, high = value_range or whole
    made = values / np.iinfo(values.dtype).max * (high - low) + low
    return made.astype(dtype) if dtype.kind == "f" else np.rint(made).astype(dtype)


def _share_cut_off(original: tuple[int, ...], target: tuple[int, ...]) -> float:
    """The share of an image (C, H, W) that the center crop cuts off."""
    if len(original) != 3:
        raise ValueError(f"a vector of length {original[0]} is not an image")
    height, width = covering_size(original[1:], (target[1], target[2]))
    return 1 - target[1] * target[2] / (height * width)


_decoder: _Decoder | None = None


def _start_worker(arguments: _Arguments) -> None:
    global _decoder
    _decoder = _Decoder(arguments)


def _work(rows: range) -> DecodeReport:
    assert _decoder is not None
    return _decoder(rows)
