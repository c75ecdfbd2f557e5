"""JPEG: compressing images again with their own quality changes them less than any quality near it.

Let D(q) be the mean squared change of an image's luminance by JPEG of quality q. For images that were never compressed,
the mean of log D falls smoothly with q. For images that were compressed with quality q0, D has a dip at q0, because
their coefficients are already multiples of the quantization steps (Farid 2009, "Exposing digital forgeries from JPEG
ghosts"). The dip K(q) = log D(q - 3) - 2 log D(q) + log D(q + 3) needs no reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..changes import jpeg
from .base import CERTAIN, Evidence, Images

_IMAGES, _SIDE = 48, 256
_STEP, _LEAST, _MOST = 3, 40, 97
_DIP = 0.3
_ROUNDING = 1 / 12
"""Variance of rounding to bytes: smaller changes carry no information."""


def compression(images: Images, reference: Images | None) -> list[Evidence]:
    """Return evidence that one side is JPEG and the other is not, or is of another quality.

    Args:
        images: the images to examine, of 1 or 3 channels.
        reference: the images of the reference; None if they are not known.
    """
    ours, theirs = quality_of(images), None if reference is None else quality_of(reference)
    if ours is not None and theirs is not None and abs(ours[0] - theirs[0]) < _STEP:
        return []
    sides = {"the images": ours, "the reference images": theirs}
    return [
        Evidence(
            "jpeg",
            f"{side} were JPEG of quality {found[0]}: compressing them again so changes them less than quality "
            f"{found[0] - _STEP} or {found[0] + _STEP} by a factor of {found[1]:.2g}",
            found[2],
        )
        for side, found in sides.items()
        if found is not None
    ]


def quality_of(images: Images) -> tuple[int, float, float] | None:
    """Return the JPEG quality of images, the depth exp(K / 2) of the dip, and K in standard errors; None without a dip.

    At most 48 images are measured, and of each the part of 256 x 256 pixels at the top left.
    """
    gray = _luminance(images)
    qualities = range(_LEAST - _STEP, _MOST + _STEP + 1)
    change = torch.stack([(jpeg(gray, gray, q).float() - gray).square().mean((1, 2, 3)) for q in qualities]).double()
    # The logarithm is taken of each image, so that a few images with large errors do not hide the dip of the others.
    change = (change + _ROUNDING).log()
    low, middle, high = (slice(start, len(qualities) - 2 * _STEP + start) for start in (0, _STEP, 2 * _STEP))
    own = change[low] - 2 * change[middle] + change[high]
    dip, error = own.mean(1), own.std(1) / len(gray) ** 0.5
    errors = dip / error.clamp(min=1e-9)
    dips = ((dip > _DIP) & (errors > CERTAIN)).nonzero().flatten().tolist()
    if not dips:
        return None
    # Qualities whose quantization steps divide those of q0 have dips too; they are above q0.
    best = dips[0] + int(dip[dips[0] : dips[0] + _STEP].argmax())
    return _LEAST + best, float((dip[best] / 2).exp()), float(errors[best])


def _luminance(images: Images) -> Tensor:
    """(n, 1, h, w) uint8, rounded, of the first images."""
    parts, count = [], 0
    for batch, _ in images.batches():
        parts.append(batch[: _IMAGES - count, :, :_SIDE, :_SIDE].float())
        count += len(parts[-1])
        if count >= _IMAGES:
            break
    x = torch.cat(parts)
    weights = torch.tensor([0.299, 0.587, 0.114] if x.shape[1] == 3 else [1.0], device=x.device)
    return (x * weights[:, None, None]).sum(1, keepdim=True).round().to(torch.uint8)
