"""The base of all feature extractors: a frozen net that turns uint8 images into feature vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...io.hashing import pieces_hash
from ...runtime.precision import full_precision


def weights_hash(net: nn.Module) -> str:
    """Return twelve hexadecimal digits that identify the names and values of the weights of ``net``, on the CPU."""
    return pieces_hash(name.encode() + value.numpy().tobytes() for name, value in sorted(net.state_dict().items()))[:12]


class FeatureExtractor(nn.Module, ABC):
    """A frozen map from images to features, and to class probabilities where there is a classifier.

    A subclass sets the attributes below and implements ``features``; a classifier sets ``num_classes`` and
    implements ``probabilities``.

    Attributes:
        num_features: d, the length of a feature vector.
        num_classes: K, or None without a classifier.
        fingerprint: one word without spaces that changes with everything that changes the features (name, hash of the
            weights, settings). Statistics with different fingerprints cannot be compared.
        resize: name of the rule that resizes images to the input size of the net; ``none`` without one.
        distance_name: the name under which the Fréchet distance of these features is reported.
        max_batch: largest number of images that go through the net at once; longer batches are split.
    """

    num_features: int
    num_classes: int | None = None
    fingerprint: str
    resize: str = "none"
    distance_name: str = "frechet"
    max_batch: int = 256

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features (B, d) float32 of ``images`` (B, C, H, W) uint8, without gradients or autocast around it."""

    def probabilities(self, features: Tensor) -> Tensor:
        """Class probabilities (B, K) from features (B, d)."""
        raise ValueError(f"{type(self).__name__} is not a classifier: choose another extractor for this metric")

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features of images, always in float32, also under autocast and where TF32 is allowed.

        Args:
            images: (B, C, H, W) uint8.

        Returns:
            (B, d) float32.

        Raises:
            ValueError: images are not uint8 of four dimensions. Quantize first: the rounding is part of the score.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(f"expected uint8 images (B, C, H, W), got {images.dtype} of shape {tuple(images.shape)}")
        if len(images) == 0:
            return torch.empty(0, self.num_features, device=images.device)
        with full_precision(images.device.type):
            return torch.cat([self.features(part).float() for part in torch.split(images, self.max_batch)])

    @property
    def device(self) -> torch.device:
        """The device of the parameters; the CPU if there are none."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in evaluation mode, even if the surrounding module changes its mode."""
        return super().train(False)
