"""Features of the Inception V3 of 2015-12-05, the network of FID, KID, the Inception score and precision/recall."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .base import FeatureExtractor
from .inception_weights import inception_weights
from .resize import RESIZES


class InceptionFeatures(FeatureExtractor):
    """Pool-3 features (2048) and class probabilities (1008) of the TensorFlow graph, in its PyTorch port.

    Probabilities are those of the Inception score: the softmax of the logits without their bias. Gray images are
    repeated to three channels.

    Args:
        weights_path: the file pt_inception-2015-12-05-6726825d.pth; None takes it from the torch hub cache and
            downloads it there when missing.
        resize: how images reach 299 x 299 pixels: ``tf`` as published scores, ``pytorch``, ``clean`` or ``antialias``
            (see ``resize.py``). Statistics of different rules do not compare.

    Raises:
        UserError: the weights are missing, cannot be downloaded or are damaged; unknown rule.
    """

    num_features = 2048
    num_classes = 1008
    distance_name = "fid"
    max_batch = 64

    def __init__(self, weights_path: str | Path | None = None, resize: str = "tf") -> None:
        super().__init__()
        if resize not in RESIZES:
            raise UserError(f"resize={resize}: choose one of {', '.join(RESIZES)}")
        self.net, digest = _network(weights_path)
        self.resize = resize
        # Cached statistics of the first two rules use these older names.
        rule = {"tf": "antialias-false", "antialias": "antialias-true"}.get(resize, f"resize-{resize}")
        self.fingerprint = f"inception-{digest[:12]}-{rule}"

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise ValueError(f"Inception takes images of 1 or 3 channels, not {images.shape[1]}")
        x = RESIZES[self.resize](images.expand(-1, 3, -1, -1).float())
        for name in _LAYERS:
            x = self.net.get_submodule(name)(x)
        return x.flatten(1)

    def probabilities(self, features: Tensor) -> Tensor:
        weight: Tensor = self.net.fc.weight
        return (features @ weight.T).softmax(dim=1)


_LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
"""The path from the image to pool-3; the network's own ``forward`` would apply its own resize rule."""


def _network(path: str | Path | None) -> tuple[Any, str]:
    """The network with checked weights, and the SHA-256 of these weights."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    raw, digest = inception_weights(path)
    # The constructor unpickles its argument without restriction, so it gets bytes that were checked to contain tensors
    # only. It also draws initial weights, which must not change the caller's random state.
    source: Any = io.BytesIO(raw)
    try:
        with torch.random.fork_rng(devices=[]):
            net = NoTrainInceptionV3("inception-v3-compat", ["2048"], source)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} are not those of the FID Inception: "
            "weights_path takes pt_inception-2015-12-05-6726825d.pth"
        ) from error
    return net, digest
