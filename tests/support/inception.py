"""Inception network with random weights, for tests without the published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def save_random_inception(path: Path) -> None:
    """Write random weights (fixed seed) in the format of the published file."""
    from torch_fidelity import feature_extractor_inceptionv3 as port

    class Blank(port.FeatureExtractorInceptionV3):  # type: ignore[misc] # torch_fidelity has no types
        def load_state_dict(self, state_dict: Any, **_: Any) -> None:
            """Keep the initial weights."""

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(port, "load_state_dict_from_url", lambda *_, **__: {})
        torch.manual_seed(0)
        net = Blank("inception-v3-compat", ["2048"])
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)  # without it, random features vanish with depth
    torch.save(net.state_dict(), path)
