"""A folder of samples that can be interrupted and continued, and never mixes samples of different settings."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..distributed import on_rank_zero
from ..errors import UserError, bytes_in_words
from ..io.atomic import remove_leftovers
from ..sampling.generation import GeneratedBatch
from ..sampling.statistics import Statistics
from ..values import BYTES, IDENTITY, Values
from .files import NpzFiles, PictureFiles, SampleFiles
from .manifest import FILE, Manifest, difference_now, from_json, load_manifest, versions

FORMATS = ("auto", "png", "npz", "npy", "tiff")


def check_format(file_format: str) -> None:
    """Raise UserError if the format is unknown."""
    if file_format not in FORMATS:
        raise UserError(f"format={file_format}: choose one of {', '.join(FORMATS)}")


class SampleStore:
    """Samples 0 to N - 1 on the disk, or the first N of more that are there already.

    Images have the depth and range of the data, in ``images/000000.png`` onward (or .tif, .npy) or joined in
    ``samples.npz``; other samples are in ``samples.npz``. ``manifest.json`` says what they are.

    ``prepare`` is for one process; ``add`` and ``read`` for all, each with indices of its own; all call ``finish``.

    Args:
        folder: where the samples are.
        settings: all that a sample depends on.
        num_samples: N; a folder that holds more stays as it is, and its first N are used.
        shape: (*d) of a sample.
        file_format: ``png``, ``tiff``, ``npy`` or ``npz``; ``auto`` is png where it holds the data, else npz.
        raw: keep the floats of images too, in ``raw.npz``.
        about: for the reader of the manifest.
        values: depth and range of the data.

    Raises:
        UserError: an unknown format, or images for which there is none.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        num_samples: int,
        shape: Sequence[int],
        file_format: str = "png",
        raw: bool = False,
        about: Mapping[str, Any] | None = None,
        values: Values = BYTES,
    ) -> None:
        if num_samples < 1:
            raise UserError(f"num_samples={num_samples}: ask for at least 1")
        check_format(file_format)
        self.folder, self.count = Path(folder), num_samples
        self.is_image = len(shape) == 3
        self.values = values
        self._arguments = (settings, num_samples, shape, file_format, raw, about, values)
        if file_format == "auto":
            file_format = "png" if not self.is_image or (shape[0] in (1, 3) and values.levels is not None) else "npz"
        deep = {} if values in (BYTES, IDENTITY) else {"values": values.as_node()}
        made_with = from_json({**settings, "shape": list(shape), "format": file_format, "raw": raw, **deep})
        self.manifest = Manifest(made_with, num_samples, about=from_json(about or {}), versions=versions())
        dtype = values.dtype if self.is_image and values.levels is not None else "float32"
        self._files: SampleFiles = (
            PictureFiles(self.folder / "images", shape, file_format, dtype)
            if self.is_image and file_format != "npz"
            else NpzFiles(self.folder, "samples", shape, dtype)
        )
        self._raw = NpzFiles(self.folder, "raw", shape, "float32") if raw and self.is_image else None

    def check_room_for_new(self) -> None:
        """UserError if the folder does not exist and the disk has no room for it; before anything is made."""
        if not self.folder.exists():
            self._check_room(self.count)

    def prepare(self) -> list[int]:
        """The indices still to be made; the folder is checked, cleaned of what a killed run left, and claimed.

        Raises:
            UserError: the folder holds something else, or the disk has not enough room.
        """
        found = self._take_over()
        remove_leftovers(self.folder, recursive=True)
        there = self._present() | set(self.manifest.invalid)
        # Before a list of all indices is made.
        self._check_room(self.count - len(there))
        missing = [i for i in range(self.count) if i not in there]
        self._check_room(len(missing))
        if not missing and self.is_part:
            # Nothing in the folder changes.
            self.manifest = found or self.manifest
            return missing
        if missing:
            self.manifest.status = "running"
        elif found is not None:
            # They stay the samples of the call that made them.
            self.manifest.about, self.manifest.versions = found.about, found.versions
        self.manifest.save(self.folder)
        return missing

    def add(self, batch: GeneratedBatch) -> None:
        """Keep the valid samples of ``batch``."""
        index, stored = batch.index[batch.valid], batch.stored[batch.valid].cpu()
        # A sample counts as there when its main file is, so that comes last.
        if self._raw is not None:
            self._raw.write(index, batch.samples[batch.valid].float().cpu())
        self._files.write(index, stored)

    def finish(self, statistics: Statistics) -> None:
        """Join files that are to be joined and close the manifest; rank 0 writes, every process learns the result."""
        on_rank_zero(lambda: self._complete(statistics))
        self.manifest.invalid = on_rank_zero(lambda: self.manifest.invalid)

    def continuing(self, pattern: str) -> SampleStore:
        """The store in a folder beside this one that matches ``pattern`` and holds samples of the same settings.

        Returns:
            This store if its own folder exists, or no other folder fits.
        """
        if not self.folder.exists():
            for folder in sorted(self.folder.parent.glob(pattern)):
                found = load_manifest(folder)
                if found is not None and difference_now(found.settings, self.manifest.settings) is None:
                    return SampleStore(folder, *self._arguments)
        return self

    def read(self, indices: Sequence[int]) -> Tensor:
        """Samples (len(indices), *d): stored values, as uint8, int32 (16 bits) or float32."""
        return self._files.read(indices)

    @property
    def is_part(self) -> bool:
        """Whether the folder is one of more samples than were asked for; known once it is prepared."""
        return self.manifest.num_samples > self.count

    @property
    def invalid(self) -> list[int]:
        """Indices of the samples that diverged, of those asked for."""
        return [i for i in self.manifest.invalid if i < self.count]

    def valid_indices(self) -> list[int]:
        """Indices of the samples that are there, of those asked for, once they are made."""
        invalid = set(self.manifest.invalid)
        return [i for i in range(self.count) if i not in invalid]

    def _complete(self, statistics: Statistics) -> None:
        if self.manifest.status == "complete":
            return
        self.manifest.invalid = sorted({*self.manifest.invalid, *statistics.invalid})
        complete = not self.is_part or len(self._present() | {*self.manifest.invalid}) >= self.manifest.num_samples
        if complete:
            for files in filter(None, (self._raw, self._files)):
                files.finish()
        self.manifest.nfe = statistics.nfe or self.manifest.nfe
        self.manifest.seconds += statistics.seconds
        self.manifest.far += statistics.far
        self.manifest.farthest = max(self.manifest.farthest, statistics.farthest)
        # The others of an interrupted run are still to be made.
        self.manifest.status = "complete" if complete else "running"
        self.manifest.save(self.folder)

    def _present(self) -> set[int]:
        there = self._files.present()
        return there if self._raw is None else there & self._raw.present()

    def _take_over(self) -> Manifest | None:
        found = load_manifest(self.folder)
        if found is None:
            if self.folder.exists() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise UserError(f"{self.folder} holds files but no {FILE} of this program: choose another output_dir")
            return None
        difference = difference_now(found.settings, self.manifest.settings)
        if difference is not None:
            raise UserError(
                f"{self.folder} holds samples made with other settings: {difference}; choose another output_dir"
            )
        self.manifest.num_samples = max(found.num_samples, self.count)
        self.manifest.invalid, self.manifest.nfe = found.invalid, found.nfe
        self.manifest.seconds, self.manifest.status = found.seconds, found.status
        return found

    def _check_room(self, count: int) -> None:
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        needed = sum(files.bytes_for(count) for files in filter(None, (self._raw, self._files)))
        free = shutil.disk_usage(existing).free
        if needed > free:
            raise UserError(
                f"{count:,} samples may take {bytes_in_words(needed)}, but {existing} has {bytes_in_words(free)} free: "
                "make room, or choose another output_dir"
            )
