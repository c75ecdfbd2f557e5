"""Report how well samples match the given data: numbers, and a picture of known parts, given data and results."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...sampling.conditioning.operators import psnr
from ...sinks.pictures import grid, save_picture, shown
from ...sinks.store import SampleStore
from ...stored_values import BYTES
from .constraints import Constraint
from .given import Given

PICTURE = "given.png"
_COLUMNS = 12
_RESULTS = 4
_MARGIN = 84
_UNKNOWN = (104, 132, 180)


def measure_agreement(
    store: SampleStore, given: Given, constraint: Constraint | None, batch_size: int
) -> dict[str, Any]:
    """Measure all valid samples of a complete folder, on the images as they were written.

    ``measurement_error``: mean over samples of the root mean square error of the known part, in units of the data.
    ``psnr``: mean in decibels against the given image, over samples that differ from it, with its standard error.
    ``identical_samples``: number of samples that equal the given image.

    Args:
        store: the samples.
        given: the data they were generated from.
        constraint: the known part; None if everything is known.
        batch_size: number of samples per batch.
    """
    errors, ratios = [], []
    valid = store.valid_indices()
    for first in range(0, len(valid), batch_size):
        index = torch.tensor(valid[first : first + batch_size])
        x, reference = store.values.to_model(store.read(index.tolist()), given.data_range), given(index)
        if constraint is not None:
            errors.append(constraint.error(index, x))
        if store.is_image:
            ratios.append(psnr(x, reference, given.data_range))
    values: dict[str, Any] = {}
    if errors:
        values["measurement_error"] = float(torch.cat(errors).mean())
    if ratios:
        every = torch.cat(ratios)
        finite = every[every.isfinite()]
        if len(finite) < len(every):
            values["identical_samples"] = len(every) - len(finite)
        if len(finite):
            values["psnr"] = float(finite.mean())
        if len(finite) > 1:
            values["psnr_standard_error"] = float(finite.std() / len(finite) ** 0.5)
    return values


def draw_constraint(store: SampleStore, given: Given, constraint: Constraint | None) -> None:
    """Write ``given.png``: a column for each of the first images, with up to four samples of it.

    Args:
        store: the samples; they must be images.
        given: the data they were generated from.
        constraint: the known part; None if everything is known.
    """
    valid = set(store.valid_indices())
    index = torch.arange(min(given.count, _COLUMNS, store.count))
    rows = {"known": _bytes(given(index), given.data_range)}
    if constraint is not None:
        rows["given"] = _given_images(constraint, index)
    for repeat in range(_RESULTS):
        made = [i + repeat * given.count for i in index.tolist()]
        if not all(i in valid for i in made):
            break
        rows["result" if repeat == 0 else " " * repeat] = _rgb(store.values.to_bytes(store.read(made)))
    save_picture(store.folder / PICTURE, _labeled(list(rows), torch.cat(list(rows.values())), len(index)))


def _given_images(constraint: Constraint, index: Tensor) -> Tensor:
    """The known part as color images; the unknown part has its own color."""
    data_range = constraint.given.data_range
    low, high = (_bytes(constraint.shown(index, unknown), data_range) for unknown in (0.0, 1.0))
    unknown = (low != high).any(dim=1, keepdim=True)
    return torch.where(unknown, torch.tensor(_UNKNOWN, dtype=torch.uint8).reshape(3, 1, 1), low)


def _labeled(labels: list[str], images: Tensor, columns: int) -> Tensor:
    made = grid(images, columns).permute(1, 2, 0).contiguous().numpy()
    sheet = Image.new("RGB", (made.shape[1] + _MARGIN, made.shape[0]), "white")
    sheet.paste(Image.fromarray(made), (_MARGIN, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    height = made.shape[0] / len(labels)
    for row, label in enumerate(labels):
        pen.text((_MARGIN - 10, (row + 0.5) * height), label.strip(), fill="black", font=font, anchor="rm")
    return torch.from_numpy(np.array(sheet)).movedim(-1, 0)


def _bytes(x: Tensor, data_range: str) -> Tensor:
    return _rgb(BYTES.from_model(x, data_range))


def _rgb(images: Tensor) -> Tensor:
    return shown(images).expand(-1, 3, -1, -1)
