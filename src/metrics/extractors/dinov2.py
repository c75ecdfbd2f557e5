"""Features of DINOv2 (Oquab et al. 2023), for FD-DINOv2 (Stein et al. 2023), through torch-fidelity's extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .base import FeatureExtractor, weights_hash

REPOSITORY = "facebookresearch/dinov2"
MODELS = {
    "s": ("dinov2_vits14", 384),
    "b": ("dinov2_vitb14", 768),
    "l": ("dinov2_vitl14", 1024),
    "g": ("dinov2_vitg14", 1536),
}
"""Function in the repository's hubconf.py and number of features, for each size."""


class DinoFeatures(FeatureExtractor):
    """The class token of a DINOv2 vision transformer.

    Images are resized to 224 x 224 like in torch-fidelity: bilinear as TensorFlow 1. dgm-eval, the code of the paper,
    resizes bicubically, so the scores of the two cannot be compared.

    Args:
        size: ``s``, ``b``, ``l`` (the paper's) or ``g``.
        weights_path: state dict of the network; None takes it from the torch hub cache and downloads it when missing.

    Raises:
        UserError: the size is unknown, the weights are missing or of another net, or the code cannot be downloaded.
    """

    distance_name = "fd_dinov2"
    resize = "tf"
    max_batch = 64

    def __init__(self, size: str = "l", weights_path: str | Path | None = None) -> None:
        super().__init__()
        if size not in MODELS:
            raise UserError(f"size={size}: choose one of {', '.join(MODELS)}")
        function, self.num_features = MODELS[size]
        model = _model(function, weights_path)
        self.net = _extractor(f"dinov2-vit-{size}-14", model)
        self.fingerprint = f"dinov2-{size}-{weights_hash(model)}"

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise ValueError(f"DINOv2 takes images of 1 or 3 channels, not {images.shape[1]}")
        (features,) = self.net(images.expand(-1, 3, -1, -1))
        result: Tensor = features
        return result


def _model(function: str, weights_path: str | Path | None) -> Any:
    """The network with its weights."""
    load: Any = torch.hub.load  # has no types
    try:
        with torch.random.fork_rng(devices=[]):
            model = load(
                f"{REPOSITORY}:main",
                function,
                pretrained=weights_path is None,
                trust_repo=True,
                skip_validation=True,
                verbose=False,
            )
    except Exception as error:  # network, zipfile and repository may raise anything
        reason = " ".join(str(error).split())
        raise UserError(
            f"DINOv2 cannot be loaded ({reason}): copy github.com/{REPOSITORY} to {_cached_code()} and give the "
            f"extractor weights_path=<{function}_pretrain.pth>"
        ) from error
    if weights_path is not None:
        try:
            model.load_state_dict(torch.load(weights_path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch passes on errors of zipfile, pickle and its reader
            raise UserError(
                f"{weights_path} is missing, damaged or not of {function}: weights_path takes {function}_pretrain.pth"
            ) from error
    return model.requires_grad_(False).eval()


def _cached_code() -> Path:
    return Path(torch.hub.get_dir()) / f"{REPOSITORY.replace('/', '_')}_main"


def _extractor(name: str, model: Any) -> Any:
    """torch-fidelity's extractor around a given network: its own constructor can only download one."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    class Extractor(FeatureExtractorDinoV2):  # type: ignore[misc] # torch-fidelity has no types
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, name, ["dinov2"])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = model

    return Extractor()
