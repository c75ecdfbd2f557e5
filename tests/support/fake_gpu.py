"""Tests of CUDA code paths without a GPU, on fake tensors."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

needs_fake_gpu = pytest.mark.skipif(
    TorchVersion(torch.__version__) < (2, 9) and not torch.cuda.is_available(),
    reason="torch 2.6 to 2.8 call the CUDA driver even for fake tensors",
)
