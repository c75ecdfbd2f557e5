"""Gradients with respect to a state inside code that runs without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def gradients() -> Iterator[None]:
    """Turns gradients on within ``no_grad`` and within ``inference_mode``, which Lightning validates in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def leaf(x: Tensor) -> Tensor:
    """A copy of x to differentiate by; a copy, since a tensor made in inference mode cannot be differentiated."""
    return x.detach().clone().requires_grad_(True)


def usable(value: Tensor) -> Tensor:
    """``value`` as a graph can keep it; call it within ``gradients``."""
    return value.clone() if value.is_inference() else value


def usable_condition(cond: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    """``cond`` with tensors that a graph can keep."""
    return None if cond is None else {name: usable(value) for name, value in cond.items()}
