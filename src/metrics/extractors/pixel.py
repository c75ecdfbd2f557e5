"""Pixels as features: no weights; for small images and for tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...image_shape import flat_shape
from ...stored_values import BYTES
from .base import FeatureExtractor


class PixelFeatures(FeatureExtractor):
    """The flattened image, scaled to [0, 1].

    Args:
        shape: (C, H, W) of the images; see ``flat_shape``.
    """

    distance_name = "frechet_pixel"

    def __init__(self, shape: Sequence[Any]) -> None:
        super().__init__()
        self.shape = flat_shape(shape)
        self.num_features = math.prod(self.shape)
        self.fingerprint = "pixel-" + "x".join(map(str, self.shape))

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise ValueError(f"images of shape {tuple(images.shape[1:])}, but PixelFeatures(shape={self.shape})")
        return BYTES.to_model(images.flatten(1), "unit")
