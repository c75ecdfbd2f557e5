"""The norm of all gradients, computed once, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def total_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The Euclidean norm of the gradients of ``parameters``, (); those without one are left out."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, foreach=_foreach(parameters))


def clip_to_norm(parameters: Sequence[nn.Parameter], max_norm: float, norm: Tensor) -> None:
    """Scale the gradients, whose norm is ``norm``, down to ``max_norm``; smaller ones stay as they are."""
    if float(norm) > max_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=_foreach(parameters))


def let_others_unscale(optimizer: Optimizer) -> None:
    """A fused optimiser would undo the loss scaling of ``16-mixed`` inside its step, after the gradients were clipped.

    Without this mark, Lightning undoes it before, as for any other optimiser.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined] # set by optimisers of torch


def _foreach(parameters: Sequence[nn.Parameter]) -> bool | None:
    # On a GPU torch chooses this by itself. On a CPU it saves the Python of a call for each of some hundred tensors.
    return True if all(parameter.device.type == "cpu" for parameter in parameters) else None
