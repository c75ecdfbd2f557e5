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


class InceptionFeatures(FeatureExtractor):
    """Pool-3 features (2048) and class probabilities (1008) of the TensorFlow graph, in its PyTorch port.

    Probabilities are those of the Inception score: the softmax of the logits without their bias. Grey images are
    repeated to three channels.

    Args:
        weights_path: the file pt_inception-2015-12-05-6726825d.pth; None takes it from the torch hub cache and
            downloads it there when missing.
        antialias: False resizes to 299 x 299 by the aliasing bilinear rule of TensorFlow 1, as published scores do;
            True filters first. Statistics of the two do not compare.

    Raises:
        UserError: the weights cannot be had or are damaged.
    """

    num_features = 2048
    num_classes = 1008
    distance_name = "fid"
    max_batch = 64

    def __init__(self, weights_path: str | Path | None = None, antialias: bool = False) -> None:
        super().__init__()
        self.net, digest = _network(weights_path, antialias)
        self.resize = "299, bilinear, antialiased" if antialias else "299, bilinear, TensorFlow 1"
        self.fingerprint = f"inception-{digest[:12]}-antialias-{str(antialias).lower()}"

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise ValueError(f"Inception takes images of 1 or 3 channels, not {images.shape[1]}")
        features: Tensor = self.net(images.expand(-1, 3, -1, -1))
        return features

    def probabilities(self, features: Tensor) -> Tensor:
        weight: Tensor = self.net.fc.weight
        return (features @ weight.T).softmax(dim=1)


def _network(path: str | Path | None, antialias: bool) -> tuple[Any, str]:
    """The network with checked weights, and the SHA-256 of these."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    raw, digest = inception_weights(path)
    # The constructor unpickles what it is given without restriction: hand it the bytes that have just been
    # shown to hold tensors only. It also draws initial weights, which must not move the caller's random state.
    source: Any = io.BytesIO(raw)
    try:
        with torch.random.fork_rng(devices=[]):
            net = NoTrainInceptionV3("inception-v3-compat", ["2048"], source, antialias)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} are not those of the FID Inception: "
            "weights_path takes pt_inception-2015-12-05-6726825d.pth"
        ) from error
    return net, digest
