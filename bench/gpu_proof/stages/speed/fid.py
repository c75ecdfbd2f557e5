"""Images per second through Inception with random weights, from bytes on the host to features on the host."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import nn

from bench.gpu_proof.clock import allow_tf32, per_call, rate
from bench.gpu_proof.setup import RecordRow, Setup
from bench.rows import row
from src.metrics import InceptionFeatures

_IMAGES = 1024


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Measure the extractor of ``metric=fid_inception`` on images of CIFAR-10's size."""
    path = setup.work / "random_inception.pth"
    _random_weights(path)
    extractor = InceptionFeatures(path)

    def measure() -> None:
        allow_tf32(False)
        extractor.to(setup.device)
        images = torch.randint(256, (_IMAGES, 3, 32, 32), dtype=torch.uint8)
        timing = per_call(lambda: extractor(images.to(setup.device)).cpu(), 3.0, warm_up=1, blocks=3)
        record_row(row("FID", "features of Inception, float32 without TF32", rate(timing, _IMAGES), "images/s"))

    return measure


def _random_weights(path: object) -> None:
    """Write random weights in the format of the published file."""
    from torch_fidelity import feature_extractor_inceptionv3 as port

    class Blank(port.FeatureExtractorInceptionV3):  # type: ignore[misc] # torch-fidelity has no types
        def load_state_dict(self, state_dict: object, **_: object) -> None:
            """Keep the initial weights."""

    with patch.object(port, "load_state_dict_from_url", lambda *_, **__: {}):
        net = Blank("inception-v3-compat", ["2048"])
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    torch.save(net.state_dict(), path)
