"""Masks in picture files; the masks of ``sampling.conditioning`` read no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...io.untrusted import read_bytes
from ...pictures import MAX_FILE, open_picture
from ...sampling.conditioning.masks import NAMES, image_size, is_mask_name


class PictureMask:
    """A picture as a mask: pixels of at least half brightness are known.

    Args:
        path: a PNG of the size of the images.

    Raises:
        UserError: when called, if the picture does not exist or has another size.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """Return the mask (1, H, W), true where known, for images of ``shape`` (C, H, W)."""
        content = read_bytes(self.path, f"give the mask as a PNG, or one of {', '.join(NAMES)}", MAX_FILE)
        try:
            values = open_picture(content).pixels(channels=1)[0]
        # A decoder may raise any exception on damaged files.
        except Exception as error:
            raise UserError(f"{self.path} is not a picture ({error}): give the mask as a PNG") from error
        if values.shape != image_size(shape):
            raise UserError(
                f"the mask {self.path} is {values.shape[::-1]} (width, height), but the images are {shape[:0:-1]}: "
                "give a mask of the size of the images"
            )
        white = 1.0 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        return torch.from_numpy(values > white / 2)[None]


def with_picture_masks(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``node`` with a ``PictureMask`` in place of each ``mask`` that is the path of a picture."""
    made = {name: with_picture_masks(value) if isinstance(value, Mapping) else value for name, value in node.items()}
    mask = made.get("mask")
    return made | {"mask": PictureMask(mask)} if isinstance(mask, str) and not is_mask_name(mask) else made
