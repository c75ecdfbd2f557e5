"""A folder of samples that can be interrupted and continued, and never mixes samples of different settings."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..distributed import on_rank_zero
from ..errors import UserError, format_bytes
from ..io.atomic import remove_leftovers
from ..runtime.energy import EnergyMeter, added
from ..sampling.batch import GeneratedBatch
from ..sampling.statistics import Statistics
from ..stored_values import BYTES, IDENTITY, StoredValues
from .files import NpzFiles, PictureFiles, SampleFiles
from .manifest import FILE, Manifest, from_json, load_manifest, numerical_versions, settings_difference

FORMATS = ("auto", "png", "npz", "npy", "tiff")


def check_format(file_format: str) -> None:
    """Raise UserError if the format is unknown."""
    if file_format not in FORMATS:
        raise UserError(f"format={file_format}: choose one of {', '.join(FORMATS)}")


class SampleStore:
    """Samples 0 to N - 1 on the disk, or the first N if the folder has more.

    Images have the depth and range of the data, in ``images/000000.png`` and so on (or .tif, .npy) or joined in
    ``samples.npz``; other samples are in ``samples.npz``. ``manifest.json`` describes them. One process calls
    ``prepare``; all call ``add`` and ``read``, each with its own indices; all call ``finish``.

    Args:
        folder: output folder.
        settings: all settings that a sample depends on.
        num_samples: N; a folder with more samples stays unchanged, and its first N are used.
        shape: (*d) of a sample.
        file_format: ``png``, ``tiff``, ``npy`` or ``npz``; ``auto`` is png if it can store the data, else npz.
        raw: whether to store the floats of images too, in ``raw.npz``.
        about: origin of the samples, for the reader of the manifest.
        values: depth and range of the data.

    Raises:
        UserError: the format is unknown, or cannot store these images.
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
        values: StoredValues = BYTES,
    ) -> None:
        if num_samples < 1:
            raise UserError(f"num_samples={num_samples}: give at least 1")
        check_format(file_format)
        self.folder, self.count = Path(folder), num_samples
        self.is_image = len(shape) == 3
        self.values = values
        self._arguments = (settings, num_samples, shape, file_format, raw, about, values)
        if file_format == "auto":
            file_format = "png" if not self.is_image or (shape[0] in (1, 3) and values.levels is not None) else "npz"
        deep = {} if values in (BYTES, IDENTITY) else {"values": values.as_node()}
        made_with = from_json({**settings, "shape": list(shape), "format": file_format, "raw": raw, **deep})
        self.manifest = Manifest(made_with, num_samples, about=from_json(about or {}), versions=numerical_versions())
        dtype = values.dtype if self.is_image and values.levels is not None else "float32"
        self._files: SampleFiles = (
            PictureFiles(self.folder / "images", shape, file_format, dtype)
            if self.is_image and file_format != "npz"
            else NpzFiles(self.folder, "samples", shape, dtype)
        )
        self._raw = NpzFiles(self.folder, "raw", shape, "float32") if raw and self.is_image else None
        self._meter: EnergyMeter | None = None

    def check_room_for_new(self) -> None:
        """Raise UserError if the folder does not exist and the disk has no room for it; called before any work."""
        if not self.folder.exists():
            self._check_room(self.count)

    def prepare(self) -> list[int]:
        """Return the indices still to be generated; check and lock the folder, and remove files that a killed run left.

        Raises:
            UserError: the folder contains something else, or the disk has not enough room.
        """
        found = self._take_over()
        remove_leftovers(self.folder, recursive=True)
        stored = self._present() | set(self.manifest.invalid)
        # Checked before the list of all indices is made.
        self._check_room(self.count - len(stored))
        missing = [i for i in range(self.count) if i not in stored]
        self._check_room(len(missing))
        if not missing and self.is_part:
            # Nothing in the folder changes.
            self.manifest = found or self.manifest
            return missing
        if missing:
            self.manifest.status, self._meter = "running", EnergyMeter()
        elif found is not None:
            # They stay the samples of the call that generated them.
            self.manifest.about, self.manifest.versions = found.about, found.versions
        self.manifest.save(self.folder)
        return missing

    def add(self, batch: GeneratedBatch) -> None:
        """Store the valid samples of ``batch``."""
        index, stored = batch.index[batch.valid], batch.stored[batch.valid].cpu()
        # A sample counts as stored if its main file exists, so this file is written last.
        if self._raw is not None:
            self._raw.write(index, batch.samples[batch.valid].float().cpu())
        self._files.write(index, stored)

    def finish(self, statistics: Statistics) -> None:
        """Join the files of a joined format and close the manifest; rank 0 writes, every process gets the result."""
        on_rank_zero(lambda: self._complete(statistics))
        self.manifest.invalid = on_rank_zero(lambda: self.manifest.invalid)

    def find_continuation(self, pattern: str) -> SampleStore:
        """Return the store in a neighboring folder that matches ``pattern`` and has samples of the same settings.

        Returns:
            This store if its own folder exists, or no other folder fits.
        """
        if not self.folder.exists():
            for folder in sorted(self.folder.parent.glob(pattern)):
                found = load_manifest(folder)
                if found is not None and settings_difference(found.settings, self.manifest.settings) is None:
                    return SampleStore(folder, *self._arguments)
        return self

    def read(self, indices: Sequence[int]) -> Tensor:
        """Samples (len(indices), *d): stored values, as uint8, int32 (16 bits) or float32."""
        return self._files.read(indices)

    @property
    def is_part(self) -> bool:
        """Whether the folder has more samples than were asked for; known after ``prepare``."""
        return self.manifest.num_samples > self.count

    @property
    def invalid(self) -> list[int]:
        """Indices of the requested samples that diverged."""
        return [i for i in self.manifest.invalid if i < self.count]

    def valid_indices(self) -> list[int]:
        """Indices of the requested samples that are stored."""
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
        if self._meter is not None:
            self.manifest.energy = added(self.manifest.energy, self._meter.stop())
        self.manifest.far += statistics.far
        self.manifest.farthest = max(self.manifest.farthest, statistics.farthest)
        # The others of an interrupted run are still to be generated.
        self.manifest.status = "complete" if complete else "running"
        self.manifest.save(self.folder)

    def _present(self) -> set[int]:
        stored = self._files.present()
        return stored if self._raw is None else stored & self._raw.present()

    def _take_over(self) -> Manifest | None:
        found = load_manifest(self.folder)
        if found is None:
            if self.folder.exists() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise UserError(
                    f"{self.folder} contains files but no {FILE} of this program: choose another output_dir"
                )
            return None
        difference = settings_difference(found.settings, self.manifest.settings)
        if difference is not None:
            raise UserError(
                f"{self.folder} contains samples of other settings: {difference}; choose another output_dir"
            )
        self.manifest.num_samples = max(found.num_samples, self.count)
        self.manifest.invalid, self.manifest.nfe = found.invalid, found.nfe
        self.manifest.seconds, self.manifest.status = found.seconds, found.status
        self.manifest.energy = found.energy
        return found

    def _check_room(self, count: int) -> None:
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        needed = sum(files.bytes_for(count) for files in filter(None, (self._raw, self._files)))
        free = shutil.disk_usage(existing).free
        if needed > free:
            raise UserError(
                f"{count:,} samples may take {format_bytes(needed)}, but {existing} has {format_bytes(free)} free: "
                "free disk space, or choose another output_dir"
            )
