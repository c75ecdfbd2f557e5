"""Images of one's own: a folder or zip archive, decoded once into a memory map."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..io.hashing import text_hash
from ..noise import permutation
from . import cache
from .base import ImageDataModule
from .image_files import ImageFiles, find_images
from .image_set import ImageSet
from .parallel_decoding import DecodeReport, decode

_log = logging.getLogger(__name__)

_SPLIT_SEED = 0
_FORMAT = 1
"""Raised when a change of the decoder changes the bytes, so that no old file is taken for a new one."""


class ImageFolderDataModule(ImageDataModule):
    """Any images, of any sizes, in a folder or zip archive.

    Each image is brought to ``image_size`` by resizing its shorter side (bicubic, antialiased) and a centre crop.
    If every image lies in a sub-folder, the sub-folders are classes, numbered in the order of their names. The
    result stays in ``data_dir``, under a name made of the contents and the settings, so a set is decoded again only
    when it changes, and may exceed the memory.

    A fixed random part of ``val_fraction`` of the images is ``val``, the others are ``train``; ``all`` joins them.

    Args:
        path: the folder or zip archive.
        image_size: height and width to bring the images to.
        channels: 3 for RGB, 1 for grey.
        labels: False ignores sub-folders.
        val_fraction: part of the images held out, at least one image if positive and there are two.
        on_broken: ``error`` refuses a set with images that cannot be read and names them, ``skip`` leaves them out.
        decode_workers: processes that decode; None for one per core.
        settings: those of ImageDataModule.
    """

    parts = ("train", "val")

    def __init__(
        self,
        *,
        path: str | Path,
        image_size: int,
        channels: int = 3,
        labels: bool = True,
        val_fraction: float = 0.0,
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
        if channels not in (1, 3):
            raise UserError(f"datamodule.channels={channels} must be 1 (grey) or 3 (RGB)")
        self.path = Path(path)
        self.labels = labels
        self.val_fraction = val_fraction
        self.on_broken = on_broken
        self.decode_workers = decode_workers

    @property
    def class_names(self) -> list[str]:
        names: list[str] = self._meta["class_names"]
        return names if self.labels else []

    def prepare_data(self) -> None:
        """Decodes the images, unless that has been done.

        Raises:
            UserError: if the path is missing or empty, images are broken, or the disk is too small.
        """
        _ = self._folder

    def load_split(self, name: str) -> ImageSet:
        rows = self._rows
        order = permutation(_SPLIT_SEED, "held out", 0, len(rows))
        held_out = round(self.val_fraction * len(rows))
        if self.val_fraction > 0 and len(rows) > 1:
            held_out = min(max(held_out, 1), len(rows) - 1)
        # Sorted, so that reading in order is reading the file in order.
        chosen = {"val": order[:held_out], "train": order[held_out:]}[name].sort().values
        labels = torch.from_numpy(np.load(self._folder / "labels.npy")) if self.class_names else None
        return ImageSet(self._folder / "images.npy", labels, rows[chosen])

    @cached_property
    def _folder(self) -> Path:
        files = find_images(self.path)
        decoded = self.data_dir / "decoded"
        settings = (files.content_key(decoded / "keys"), self.image_size, self.channels, self.on_broken, _FORMAT)
        key = text_hash(repr(settings))[:16]
        return cache.ensure(decoded / f"{self.path.stem}-{self.image_size}-{key}", lambda f: self._decode(files, f))

    @cached_property
    def _meta(self) -> dict[str, Any]:
        return cache.read_meta(self._folder)

    @property
    def _rows(self) -> Tensor:
        kept = torch.ones(self._meta["count"], dtype=torch.bool)
        kept[self._meta["broken_rows"]] = False
        return kept.nonzero().flatten()

    def _decode(self, files: ImageFiles, folder: Path) -> None:
        if files.ignored:
            _log.info("%s: %d file(s) that are no images are ignored", files.path, files.ignored)
        images = cache.create_images(folder, len(files.names), self.shape)
        images.flush()  # type: ignore[attr-defined] # a memory map
        report = decode(files, folder / "images.npy", self.image_size, self.channels, self.decode_workers)
        self._judge(files, report)
        np.save(folder / "labels.npy", np.array(files.labels() if files.classes else [], np.int64))
        cache.write_meta(
            folder,
            {
                "count": len(files.names),
                "class_names": list(files.classes),
                "broken_rows": [row for row, _, _ in report.broken],
            },
        )

    def _judge(self, files: ImageFiles, report: DecodeReport) -> None:
        if report.enlarged:
            _log.warning("%d image(s) are smaller than %d pixels and were enlarged", report.enlarged, self.image_size)
        if not report.broken:
            return
        named = ", ".join(f"{name} ({reason})" for _, name, reason in report.broken[:5])
        more = f" and {len(report.broken) - 5} more" if len(report.broken) > 5 else ""
        line = f"{len(report.broken)} of {len(files.names)} images in {files.path} cannot be read: {named}{more}"
        if self.on_broken == "error":
            raise UserError(f"{line}; mend or remove them, or set datamodule.on_broken=skip")
        if len(report.broken) == len(files.names):
            raise UserError(line)
        _log.warning("%s; they are left out", line)
