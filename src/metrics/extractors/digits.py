"""A small classifier of 8 x 8 digits: features and probabilities for the quickstart, with no download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...config.location import program_command
from ...errors import UserError
from ...io.hashing import bytes_hash
from ...noise import permutation
from ...stored_values import BYTES
from .base import FeatureExtractor

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
TRAINING_IMAGES = 1500


class DigitFeatures(FeatureExtractor):
    """The 64 activations before the last layer of the classifier, and its probabilities of the ten digits.

    Args:
        weights_path: a file written by ``python -m src.metrics.extractors.train_digits``; None for the file in the
            package.

    Raises:
        UserError: the weights are missing or damaged.
    """

    num_features = 64
    num_classes = 10
    distance_name = "frechet_digits"

    def __init__(self, weights_path: str | Path | None = None) -> None:
        super().__init__()
        from safetensors.torch import load

        path = WEIGHTS if weights_path is None else Path(weights_path)
        with torch.random.fork_rng(devices=[]):
            self.net = DigitNet()
        try:
            raw = path.read_bytes()
            self.net.load_state_dict(load(raw))
        except Exception as error:  # safetensors and torch raise different ones for each damage
            raise UserError(
                f"the digit classifier in {path} is missing or damaged: "
                f"run {program_command('metrics.extractors.train_digits')}"
            ) from error
        self.requires_grad_(False).eval()
        self.fingerprint = f"digits-{bytes_hash(raw)[:12]}"

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (1, 8, 8):
            raise ValueError(f"the digit classifier takes images (1, 8, 8), not {tuple(images.shape[1:])}")
        features: Tensor = self.net.body(BYTES.to_model(images, "centered"))
        return features

    def probabilities(self, features: Tensor) -> Tensor:
        logits: Tensor = self.net.head(features)
        return logits.softmax(dim=1)


class DigitNet(nn.Module):
    """Three convolutions and two linear layers: (B, 1, 8, 8) in [-1, 1] to ten logits, 45 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, 64),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8) in [-1, 1]."""
        logits: Tensor = self.head(self.body(x))
        return logits


def digit_images() -> tuple[Tensor, Tensor]:
    """The 1,797 digits of scikit-learn: uint8 images (N, 1, 8, 8), 17 gray levels spread to 0..255, and labels."""
    from sklearn.datasets import load_digits

    data: np.ndarray = load_digits().images
    labels: np.ndarray = load_digits().target
    images = torch.from_numpy(data).mul(255 / 16).round().to(torch.uint8)
    return images[:, None], torch.from_numpy(labels).long()


def digit_split(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the training images and of the test images of the classifier."""
    order = permutation(0, "digits-split", 0, count)
    return order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
