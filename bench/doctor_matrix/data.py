"""Three sets of images for the matrix, made from what comes with scikit-learn, and features for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from src.datamodules.photos import PhotosDataModule
from src.io.hashing import bytes_hash
from src.metrics import DigitFeatures, FeatureExtractor, PixelFeatures
from src.metrics.extractors.digits import digit_images
from src.tasks.evaluate.doctor.changes import RULES, resized

SIDE = 32
STANDARD = next(iter(RULES))
"""The rule by which the color images are shrunk."""

_LARGE, _PATCH = 80, 8
_SPLIT_ROW = 280


@dataclass(frozen=True)
class Pool:
    """Images to draw reference and samples from.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) classes.
        test: (M, C, H, W) uint8, another split.
        variants: the same images made in another way: shrunk by another rule, or truncated instead of rounded.
    """

    images: Tensor
    labels: Tensor
    test: Tensor
    variants: Mapping[str, Tensor]


def digits_pool() -> Pool:
    """The digits (8 x 8, gray) of some writers; those of others are the test split."""
    images, labels = digit_images()
    return Pool(images[:1300], labels[:1300], images[1300:], {})


def patches_pool() -> Pool:
    """Patches (8 x 8, color) of two photographs, which are the classes; those of the test split have less contrast.

    All have one mean, so that half a level shows, and light from the left, so that mirrored ones differ.
    """
    images = PhotosDataModule(image_size=_PATCH).images("train")
    x = images.gather(torch.arange(len(images))).float()
    x = _bytes(_leveled(x) + torch.linspace(10, -10, _PATCH))
    assert images.labels is not None
    return Pool(x, images.labels, _bytes(128 + 0.75 * (x[-2000:].float() - 128)), {})


def color_pool(count: int, test: int) -> Pool:
    """Digits of random color over random patches of two photographs, 32 x 32, shrunk from 80 x 80.

    The class is the photograph. The test split is from the lower third of both. All images have one mean.

    Args:
        count: N images.
        test: M images of the test split.
    """
    large, labels = _large(count, 0, 0, _SPLIT_ROW)
    below, _ = _large(test, 1, _SPLIT_ROW, None)
    floats = {rule: _leveled(resized(large, (SIDE, SIDE), rule)) for rule in RULES}
    variants = {f"shrunk by {rule}": _bytes(x) for rule, x in floats.items() if rule != STANDARD}
    variants["truncated"] = floats[STANDARD].floor().clamp(0, 255).to(torch.uint8)
    return Pool(_bytes(floats[STANDARD]), labels, _bytes(_leveled(resized(below, (SIDE, SIDE), STANDARD))), variants)


def _large(count: int, seed: int, top: int, bottom: int | None) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 80, 80) float and the number of the photograph."""
    from sklearn.datasets import load_sample_images

    generator = torch.Generator().manual_seed(seed)
    photos = [torch.from_numpy(photo.copy())[top:bottom].permute(2, 0, 1) for photo in load_sample_images().images]
    digits, _ = digit_images()
    labels = torch.randint(len(photos), (count,), generator=generator)
    images = torch.empty(count, 3, _LARGE, _LARGE)
    for i, label in enumerate(labels.tolist()):
        photo = photos[label]
        y, x = (int(torch.randint(side - _LARGE, (), generator=generator)) for side in photo.shape[-2:])
        digit = digits[torch.randint(len(digits), (1,), generator=generator)].float() / 255
        mask = F.interpolate(digit, (_LARGE, _LARGE), mode="bicubic").clamp(0, 1)[0]
        color = 255 * torch.rand(3, 1, 1, generator=generator)
        images[i] = (photo[:, y : y + _LARGE, x : x + _LARGE] - mask * color).abs()
    return images, labels


def _leveled(images: Tensor) -> Tensor:
    return images - images.mean((1, 2, 3), keepdim=True) + 128


def _bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


class TextureFeatures(FeatureExtractor):
    """Logarithms of the mean response of fixed random filters, and means of the image over a grid of 4 x 4 cells.

    Filters of zero mean see texture, those on the second difference fine detail; the grid sees colors and sides. They
    tell JPEG files and resized images from others, without a download.
    """

    num_features = 96
    distance_name = "frechet_texture"
    fingerprint = "texture"

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        coarse, fine = (torch.randn(24, 3, 3, 3, generator=generator) for _ in range(2))
        self.register_buffer("coarse", coarse - coarse.mean((1, 2, 3), keepdim=True))
        self.register_buffer("fine", fine - fine.mean((2, 3), keepdim=True))
        second = torch.tensor([1.0, -2.0, 1.0])
        self.register_buffer("second", (second[:, None] * second / 4).expand(3, 1, 3, 3))

    def features(self, images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1
        responses = (F.conv2d(x, self.coarse), F.conv2d(F.conv2d(x, self.second, groups=3), self.fine))
        energies = [(response.abs().mean((2, 3)) + 0.02).log() for response in responses]
        return torch.cat([*energies, F.adaptive_avg_pool2d(x, 4).flatten(1)], dim=1)


class Remembering(FeatureExtractor):
    """Features of another extractor, computed once for the same images: faults of a trial share their reference.

    Attributes:
        learning: whether features are kept; set to False once the reference was seen.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor, self.learning = extractor, True
        self.num_features, self.fingerprint = extractor.num_features, extractor.fingerprint
        self.resize, self.distance_name = extractor.resize, extractor.distance_name
        self._known: dict[str, Tensor] = {}

    def features(self, images: Tensor) -> Tensor:
        key = bytes_hash(images.contiguous().numpy().tobytes())
        found = self._known.get(key)
        if found is None:
            found = self.extractor.features(images)
            if self.learning:
                self._known[key] = found
        return found


SETS: dict[str, tuple[Callable[[], Pool], Callable[[], FeatureExtractor]]] = {
    "digits": (digits_pool, DigitFeatures),
    "patches": (patches_pool, lambda: PixelFeatures((3, _PATCH, _PATCH))),
    "color": (lambda: color_pool(1600, 800), TextureFeatures),
}
"""How the images of each set are made, and the features they are compared in."""


@cache
def pool(name: str) -> Pool:
    """The images of a set."""
    return SETS[name][0]()
