"""How images reach the 299 x 299 pixels and the range of numbers of Inception.

The rule moves FID by more than its interval:

| name | rule | used by |
|---|---|---|
| tf | bilinear without half-pixel centers, as TensorFlow 1 | FID's first code, torch-fidelity, score_sde |
| pytorch | bilinear with half-pixel centers, no filter | pytorch-fid |
| clean | bicubic with PIL's antialiasing filter, in floats | clean-fid (Parmar et al. 2022) |
| antialias | bilinear with antialiasing filter | torchmetrics' default |
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

SIZE = (299, 299)


def _tf(images: Tensor) -> Tensor:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(images, size=SIZE, align_corners=False)
    return (resized - 128) / 128


def _pytorch(images: Tensor) -> Tensor:
    # pytorch-fid maps [0, 255] to [-1, 1] exactly, the others to [-1, 127/128].
    return F.interpolate(images / 255, size=SIZE, mode="bilinear", align_corners=False) * 2 - 1


def _clean(images: Tensor) -> Tensor:
    resized = F.interpolate(images, size=SIZE, mode="bicubic", align_corners=False, antialias=True)
    # PIL's float images are not clipped: bicubic overshoots, and clean-fid keeps that.
    return (resized - 128) / 128


def _antialias(images: Tensor) -> Tensor:
    resized = F.interpolate(images, size=SIZE, mode="bilinear", align_corners=False, antialias=True)
    return (resized - 128) / 128


RESIZES: dict[str, Callable[[Tensor], Tensor]] = {
    "tf": _tf,
    "pytorch": _pytorch,
    "clean": _clean,
    "antialias": _antialias,
}
"""Each function maps float images (B, 3, H, W) in [0, 255] to the input of the network (B, 3, 299, 299)."""
