"""A classifier of small images that is trained in seconds on a GPU: features and probabilities without a download."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ...config.location import program_command
from ...errors import UserError
from ...stored_values import BYTES
from .base import FeatureExtractor, weights_hash


class ClassifierNet(nn.Module):
    """A residual net of eight convolutions: (B, C, H, W) in [-1, 1], H and W at least 8, to logits (B, K).

    Args:
        channels: C of the images.
        num_classes: K.
        width: channels of the first layer; the features are eight times as wide.
    """

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, width),
            _conv(width, 2 * width),
            nn.MaxPool2d(2),
            _Residual(2 * width),
            _conv(2 * width, 4 * width),
            nn.MaxPool2d(2),
            _conv(4 * width, 8 * width),
            nn.MaxPool2d(2),
            _Residual(8 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(8 * width, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K). The factor keeps the probabilities of an untrained net nearly uniform, which high learning
        rates need.
        """
        logits: Tensor = 0.125 * self.head(self.body(x))
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        sum_: Tensor = x + self.inner(x)
        return sum_


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class ClassifierFeatures(FeatureExtractor):
    """Activations before the last layer of a ``ClassifierNet``, and its class probabilities.

    Args:
        weights_path: a file of ``python -m src.metrics.extractors.train_classifier``.

    Raises:
        UserError: the weights are missing or damaged.
    """

    distance_name = "frechet_classifier"
    max_batch = 1024

    def __init__(self, weights_path: str | Path) -> None:
        super().__init__()
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        path = Path(weights_path)
        try:
            with safe_open(path, framework="pt") as file:
                sizes = {name: int(value) for name, value in file.metadata().items() if name in _SIZES}
            with torch.random.fork_rng(devices=[]):
                self.net = ClassifierNet(**sizes)
            self.net.load_state_dict(load_file(path))
        except (OSError, SafetensorError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"the classifier in {path} is missing or damaged: "
                f"run {program_command('metrics.extractors.train_classifier')} --data FILE.npz --out {path}"
            ) from error
        self.channels, self.num_classes = sizes["channels"], sizes["num_classes"]
        self.num_features = 8 * sizes["width"]
        self.requires_grad_(False).eval()
        # The hash of the values and not of the file, whose metadata may be in any order.
        self.fingerprint = f"classifier-{weights_hash(self.net)}"

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            raise ValueError(f"the classifier takes images of {self.channels} channels, not {images.shape[1]}")
        features: Tensor = self.net.body(BYTES.to_model(images, "centered"))
        return features

    def probabilities(self, features: Tensor) -> Tensor:
        logits: Tensor = 0.125 * self.net.head(features)
        return logits.softmax(dim=1)


_SIZES = ("channels", "num_classes", "width")
