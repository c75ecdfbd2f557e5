"""Gradients with respect to a state inside code that disables them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def gradients() -> Iterator[None]:
    """Enable gradients inside of ``no_grad`` and of ``inference_mode``, which Lightning uses in validation."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def leaf(x: Tensor) -> Tensor:
    """Copy x for differentiation: a tensor made in inference mode cannot require gradients."""
    return x.detach().clone().requires_grad_(True)


def graph_safe(value: Tensor) -> Tensor:
    """Return ``value`` in a form that an autograd graph can keep; call it within ``gradients``."""
    return value.clone() if value.is_inference() else value


def graph_safe_condition(cond: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    """Return ``cond`` with tensors that an autograd graph can keep."""
    return None if cond is None else {name: graph_safe(value) for name, value in cond.items()}
