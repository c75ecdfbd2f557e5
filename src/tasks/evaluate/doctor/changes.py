"""Changes that may have happened to images, or that undo them: deterministic functions of uint8 images."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....noise import uniform

Change = Callable[[Tensor, Tensor], Tensor]
"""(images (B, C, H, W) uint8, their indices (B,)) -> images (B, C, H, W) uint8."""


def swap_channels(images: Tensor, index: Tensor) -> Tensor:
    """Swap RGB and BGR."""
    return images.flip(1)


def mirror(images: Tensor, index: Tensor) -> Tensor:
    """Mirror images left to right."""
    return images.flip(-1)


def mirror_half(images: Tensor, index: Tensor) -> Tensor:
    """Mirror every second image, like training with random flips; the number of images stays the same."""
    chosen = uniform(0, "doctor flips", 0, index.to(images.device)) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def stretch(images: Tensor, index: Tensor, low: float, high: float) -> Tensor:
    """Map [low, high] to [0, 255], clipped."""
    return _bytes((images.float() - low) * (255 / (high - low)))


VIDEO_LEVELS = "video levels, 16 to 235"

RULES: dict[str, dict[str, Any]] = {
    "bicubic with antialiasing, as PIL": {"mode": "bicubic", "antialias": True},
    "bilinear with antialiasing, as PIL": {"mode": "bilinear", "antialias": True},
    "bilinear without antialiasing, as torch": {"mode": "bilinear"},
    "nearest": {"mode": "nearest-exact"},
    "box": {"mode": "area"},
}
"""Rules of resizing as arguments of ``torch.nn.functional.interpolate``."""


def resized(x: Tensor, size: Sequence[int], rule: str) -> Tensor:
    """Images (B, C, H, W) float at another size, by a rule of ``RULES``; not rounded, not clipped."""
    return F.interpolate(x, size=list(size), **RULES[rule])


def resize(images: Tensor, index: Tensor, rule: str) -> Tensor:
    """Half the size and back by the same rule; fine detail is lost."""
    small = resized(images.float(), [max(side // 2, 1) for side in images.shape[-2:]], rule)
    return _bytes(resized(_bytes(small).float(), images.shape[-2:], rule))


def soften(images: Tensor, index: Tensor, share: float) -> Tensor:
    """Each value takes ``share`` of both its neighbors in each direction; a negative share sharpens.

    Images that were shrunk by another rule are a little softer or sharper.
    """
    x = images.float()
    for dim in (-2, -1):
        padding = (0, 0, 1, 1) if dim == -2 else (1, 1, 0, 0)
        before, after = (F.pad(x, padding, mode="replicate").narrow(dim, i, x.shape[dim]) for i in (0, 2))
        x = (1 - 2 * share) * x + share * (before + after)
    return _bytes(x)


def jpeg(images: Tensor, index: Tensor, quality: int) -> Tensor:
    """Encode as JPEG of this quality and decode again, by Pillow with its default subsampling."""
    # Imported here because other modes do not need it.
    from PIL import Image

    done = []
    for image in images.permute(0, 2, 3, 1).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "JPEG", quality=quality)
        read = np.asarray(Image.open(buffer))
        done.append(torch.from_numpy(read.reshape(image.shape).copy()))
    return torch.stack(done).permute(0, 3, 1, 2).to(images.device)


def add_half(images: Tensor, index: Tensor, sign: int) -> Tensor:
    """Add or subtract half a level on average: truncation lowers every value by that much, compared with rounding."""
    steps = uniform(0, "doctor half level", 0, index.to(images.device), images.shape[1:]) < 0.5
    return _bytes(images.float() + sign * steps.float())


def changes(channels: int) -> dict[str, dict[str, tuple[str, Change]]]:
    """Return all changes that apply to images of ``channels`` channels.

    The result maps family and description to the side that is changed (``images``, ``reference``, or ``both ways`` for
    one side after the other) and the change.

    Returns:
        By family and description: which side is changed, ``images``, ``reference`` or ``both ways`` (one side after
        the other), and the change.
    """
    found: dict[str, dict[str, tuple[str, Change]]] = {
        "range": {
            "[0, 1] was read as [-1, 1]": ("images", partial(stretch, low=127.5, high=255)),
            "[-1, 1] was clipped as [0, 1]": ("reference", partial(stretch, low=127.5, high=255)),
            VIDEO_LEVELS: ("images", partial(stretch, low=16, high=235)),
        },
        "flips": {"reference with flips": ("reference", mirror_half), "mirrored images": ("images", mirror)},
        "resize": {
            **{f"half size and back, {rule}": ("both ways", partial(resize, rule=rule)) for rule in RULES},
            **{
                f"a {how} rule of shrinking": ("both ways", partial(soften, share=share))
                for how, share in _SOFT.items()
            },
        },
        "quantize": {
            "truncated, not rounded": ("images", partial(add_half, sign=1)),
            "rounded, not truncated": ("images", partial(add_half, sign=-1)),
        },
    }
    if channels == 3:
        found["channels"] = {"RGB and BGR are swapped": ("images", swap_channels)}
    if channels in (1, 3):
        found["jpeg"] = {f"JPEG quality {q}": ("both ways", partial(jpeg, quality=q)) for q in _QUALITIES}
    return found


_SOFT = {"softer": 0.08, "slightly softer": 0.03, "sharper": -0.08, "slightly sharper": -0.03}
_QUALITIES = (95, 85, 75, 50)


def _bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)
