"""The same dropout masks in two calls of a net."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def same_dropout(x: Tensor) -> AbstractContextManager[object]:
    """Restore dropout's generator on the device of ``x`` at the end: the next call of the net draws the same masks.

    In a graph of ``torch.compile`` the masks of two calls are independent.
    """
    if torch.compiler.is_compiling():
        return nullcontext()
    if x.device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[x.device], device_type=x.device.type)
