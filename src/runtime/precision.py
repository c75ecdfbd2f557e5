"""Precision of float32 arithmetic on a GPU: full float32, or TF32 (10-bit mantissa) where that is faster.

torch has two switches: matrix products follow ``torch.set_float32_matmul_precision``, convolutions follow
``torch.backends.cudnn.allow_tf32``, which is on by default. Here they are one setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import UserError

PRECISIONS = ("highest", "high", "medium")


_WITHOUT_FLOAT64 = ("mps",)


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on devices without float64 (Apple GPUs), for sums and coefficients on ``device``."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def check_float32_precision(precision: object) -> None:
    """Raise UserError if ``float32_matmul_precision`` is not one of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise UserError(f"float32_matmul_precision={precision}: choose one of {', '.join(PRECISIONS)}")


def set_float32_precision(precision: str) -> None:
    """Set how float32 matrix products and convolutions are computed from now on.

    Args:
        precision: ``highest``: in float32. ``high``: in TF32 where the device has it. ``medium``: matrix products may
            use bfloat16.

    Raises:
        UserError: unknown precision.
    """
    check_float32_precision(precision)
    # torch 2.9 and later refuse to mix these two with `torch.backends.*.fp32_precision`, which torch 2.6 lacks.
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute in full float32 inside the context, without TF32 and autocast: for likelihoods, features, references.

    Args:
        device_type: the kind of device on which autocast is off, such as ``cuda``.
    """
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_float32_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
