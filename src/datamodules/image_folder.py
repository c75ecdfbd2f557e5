"""User data: pictures, arrays or tables, decoded once into a memory map."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..errors import UserError
from ..io.hashing import text_hash
from ..noise import permutation
from ..stored_values import StoredValues, chosen
from .base import ImageDataModule
from .image_set import ImageSet
from .reading import cache
from .reading.decoding import DecodeReport, decode
from .reading.opening import open_source
from .reading.source import Source

_log = logging.getLogger(__name__)

_SPLIT_SEED = 0
_SPLITS = ("train", "val", "test")
_FORMAT = 2
"""Increase this when a change of the decoder changes the bytes, so that old files are not reused."""


class ImageFolderDataModule(ImageDataModule):
    """Any images, of any sizes: a folder or zip archive of pictures, npy, npz, zarr or parquet files.

    Each image is converted to ``image_size``: resized until it just covers that size (bicubic, antialiased), then
    cropped at the center. Values keep the depth of the files. The result is stored in ``data_dir``, under a name made
    of the contents and the settings. A set is decoded again only when it changes, and may be larger than the memory.

    Labels come from ``dataset.json`` (StyleGAN, EDM), from the arrays, or from sub-folders. Sub-folders are sorted as
    numbers if all names are numbers, and alphabetically otherwise. Folders or arrays called ``train``, ``val`` and
    ``test`` are splits. If the data have no ``val``, a fixed random part of ``val_fraction`` of the training images is
    ``val``. If they have no ``test``, ``test`` is ``test_split``. ``all`` joins all splits.

    Args:
        path: the folder or file.
        image_size: height and width to bring the images to, one number for squares or [height, width].
        channels: of the result: 1 (gray), 2 (gray and alpha), 3 (RGB), 4 (RGB and alpha) of pictures; those of arrays.
        labels: False ignores labels and sub-folders.
        val_fraction: part of the training images held out, at least one image if positive and there are two.
        value_range: [smallest, largest] stored value, which become the ends of ``data_range``; None reads it from
            the data.
        dtype: uint8, uint16, float16 or float32; None takes that of the data. Others are scaled to it.
        layout: ``NHWC`` or ``NCHW`` of arrays; None chooses by the shape.
        on_broken: ``error`` refuses a set with images that cannot be read and names them, ``skip`` leaves them out.
        decode_workers: processes that decode; None for one per core.
        settings: those of ImageDataModule.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        image_size: int | Sequence[int],
        channels: int = 3,
        labels: bool = True,
        val_fraction: float = 0.0,
        value_range: Sequence[float] | None = None,
        dtype: str | None = None,
        layout: str | None = None,
        on_broken: Literal["error", "skip"] = "error",
        decode_workers: int | None = None,
        val_split: str = "val",
        test_split: str = "val",
        reference_split: str = "all",
        **settings: Any,
    ) -> None:
        super().__init__(
            image_size=image_size,
            channels=channels,
            val_split=val_split,
            test_split=test_split,
            reference_split=reference_split,
            **settings,
        )
        if not 0 <= val_fraction < 1:
            raise UserError(f"datamodule.val_fraction={val_fraction} must lie in [0, 1)")
        if on_broken not in ("error", "skip"):
            raise UserError(f"datamodule.on_broken must be error or skip, got {on_broken}")
        if not isinstance(channels, int) or channels < 1:
            raise UserError(f"datamodule.channels={channels}: give the number of channels, 1 for gray, 3 for RGB")
        if dtype is not None or value_range is not None:
            # Refuse unknown values before the data are read.
            chosen(dtype or "float32", value_range, *(value_range or (0, 1)))
        self.path = Path(path).expanduser()
        self.labels = labels
        self.val_fraction = val_fraction
        self.value_range = value_range
        self.stored_dtype = dtype
        self.layout = layout
        self.on_broken = on_broken
        self.decode_workers = decode_workers

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override] # the data say which there are
        named = self._meta["splits"]
        return tuple(name for name in _SPLITS if name in named or name in ("train", "val"))

    @property
    def class_names(self) -> list[str]:
        names: list[str] = self._meta["class_names"]
        return names if self.labels else []

    @cached_property
    def values(self) -> StoredValues:
        meta = self._meta
        return chosen(meta["dtype"], self.value_range, meta["low"], meta["high"])

    def settings_from_data(self) -> dict[str, Any]:
        # Set it for data without labels too: nets and objectives read their number of classes here.
        return {"num_classes": self.num_classes, **super().settings_from_data(), **self.values.as_node()}

    def setup(self, stage: str | None = None) -> None:
        # Values outside the given range are refused here.
        _ = self.values
        super().setup(stage)

    def prepare_data(self) -> None:
        """Decode the images, unless this was done before.

        Raises:
            UserError: if the path is missing or empty, images are broken, or the disk is too small.
        """
        _ = self._folder

    def load_split(self, name: str) -> ImageSet:
        rows = self._rows_of(name)
        labels = torch.from_numpy(np.load(self._folder / "labels.npy")) if self.class_names else None
        # Sorted, so that reading in order reads the file sequentially.
        return ImageSet(self._folder / "images.npy", labels, torch.from_numpy(np.sort(rows)))

    def _rows_of(self, name: str) -> np.ndarray:
        if name not in self.parts:
            raise KeyError(name)
        kept = np.ones(self._meta["count"], bool)
        kept[self._meta["broken_rows"]] = False
        split = np.load(self._folder / "splits.npy")
        if name in self._meta["splits"] and (name != "train" or "val" in self._meta["splits"]):
            return np.flatnonzero(kept & (split == _SPLITS.index(name)))
        train = np.flatnonzero(kept & (split <= 0))
        order = train[permutation(_SPLIT_SEED, "held out", 0, len(train)).numpy()]
        held_out = round(self.val_fraction * len(train))
        if self.val_fraction > 0 and len(train) > 1:
            held_out = min(max(held_out, 1), len(train) - 1)
        chosen_rows: np.ndarray = order[:held_out] if name == "val" else order[held_out:]
        return chosen_rows

    def _part(self, name: str) -> ImageSet:
        images = super()._part(name)
        if name == "test" and not len(images):
            raise UserError(
                f"{self.path} has no test split: add a folder test/, hold images out with datamodule.val_fraction=0.1, "
                "or choose another split, for example train"
            )
        return images

    @cached_property
    def _folder(self) -> Path:
        source = open_source(self.path, layout=self.layout)
        decoded = self.data_dir / "decoded"
        settings = (
            source.content_key(decoded / "keys"),
            self.shape,
            self.on_broken,
            self.labels,
            self.stored_dtype,
            # Only rows of another dtype are scaled by it.
            self.value_range if self.stored_dtype not in (None, source.dtype) else None,
            _FORMAT,
        )
        name = f"{self.path.stem}-{'x'.join(map(str, self.shape))}-{text_hash(repr(settings))[:16]}"
        return cache.ensure(decoded / name, lambda folder: self._decode(source, folder))

    @cached_property
    def _meta(self) -> dict[str, Any]:
        return cache.read_meta(self._folder)

    def _decode(self, source: Source, folder: Path) -> None:
        self._check_shape(source)
        for note in source.notes:
            _log.info("%s: %s", source.path, note)
        dtype = self.stored_dtype or source.dtype
        labels = source.labels if self.labels else None
        images = cache.create_images(folder, len(source), self.shape, dtype)
        images.flush()
        report = decode(source, folder / "images.npy", self.decode_workers, self.value_range)
        self._warn_about_changes(source, report)
        np.save(folder / "labels.npy", np.zeros(0, np.int64) if labels is None else labels)
        splits = np.full(len(source), -1, np.int8)
        for name, rows in source.splits.items():
            splits[rows] = _SPLITS.index(name)
        np.save(folder / "splits.npy", splits)
        if source.splits and (unnamed := int((splits < 0).sum())):
            _log.warning("%d row(s) of %s belong to no split and are used as train", unnamed, source.path)
        cache.write_meta(
            folder,
            {
                "count": len(source),
                "class_names": [] if labels is None else source.class_names or sorted(map(str, set(labels.tolist()))),
                "splits": list(source.splits),
                "broken_rows": [row for row, _, _ in report.broken],
                "dtype": dtype,
                "low": report.low,
                "high": report.high,
            },
        )
        _log.info("%s", self._summary(source, dtype, report))

    def _summary(self, source: Source, dtype: str, report: DecodeReport) -> str:
        depth = chosen(dtype, self.value_range, report.low, report.high).name
        return f"{source.path}: {len(source):,} rows, values {report.low:g} to {report.high:g}, stored as {depth}"

    def _check_shape(self, source: Source) -> None:
        """Check arrays as a whole, and pictures one by one."""
        if source.parallel:
            return
        shapes = source.shapes([0])
        if not shapes:
            # Decoding names the rows that cannot be read.
            return
        (found,) = shapes
        if len(found) == 1:
            raise UserError(f"{self.path} contains vectors of length {found[0]}: use datamodule=vectors and net=mlp")
        try:
            source.reader(self.channels)(0)
        # A decoder may raise any exception on damaged files.
        except Exception as error:
            c, h, w = found
            if c == self.channels:
                return
            raise UserError(
                f"{self.path} contains {c} channel(s) of {h}x{w} pixels ({error}): set datamodule.channels={c} and "
                f"datamodule.image_size={h if h == w else f'[{h},{w}]'}"
            ) from error
        if found[1:] != (self.height, self.width):
            _log.warning("%s: %dx%d pixels become %dx%d", self.path, *found[1:], self.height, self.width)

    def _warn_about_changes(self, source: Source, report: DecodeReport) -> None:
        if report.enlarged:
            _log.warning(
                "%d image(s) are smaller than %dx%d pixels and were enlarged", report.enlarged, self.height, self.width
            )
        if report.cropped:
            _log.warning(
                "%d image(s) have other proportions than %dx%d and lose up to %.0f%% of their area: set "
                "datamodule.image_size=[height,width] to keep it",
                report.cropped,
                self.height,
                self.width,
                100 * report.most_cropped,
            )
        if not report.broken:
            return
        named = ", ".join(f"{name} ({reason})" for _, name, reason in report.broken[:5])
        more = f" and {len(report.broken) - 5} more" if len(report.broken) > 5 else ""
        line = f"{len(report.broken)} of {len(source)} images in {source.path} cannot be read: {named}{more}"
        if self.on_broken == "error":
            raise UserError(f"{line}; repair or remove them, or set datamodule.on_broken=skip")
        if len(report.broken) == len(source):
            raise UserError(line)
        _log.warning("%s; they are skipped", line)
