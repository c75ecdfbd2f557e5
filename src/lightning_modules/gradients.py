"""Clip gradients, and skip steps whose gradients are not finite, without making the host wait for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer


class DeviceFlag:
    """A truth value that is computed on a device and read on the host later.

    The value is copied to the host while the device continues. Reading it one step later waits only for work that is
    finished anyway.

    Args:
        value: () on any device; zero means false.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._arrived: torch.cuda.Event | None = None
        if value.is_cuda:
            self._value = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch has no type for it
            self._arrived.record()

    def __bool__(self) -> bool:
        if self._arrived is not None:
            self._arrived.synchronize()
        return bool(self._value)


def total_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradients of ``parameters``, (); parameters without a gradient are ignored."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, foreach=_foreach(parameters))


def prepare_step(optimizer: Optimizer, norm: Tensor, max_norm: float | None) -> DeviceFlag:
    """Clip the gradients of the next step of ``optimizer``, and skip the step if their norm is not finite.

    A skipped step leaves weights, moments and step counts unchanged. Gradients with a norm above ``max_norm`` are
    multiplied by max_norm / (norm + 1e-6), as in ``torch.nn.utils.clip_grad_norm_``.

    A fused Adam receives both values through its attributes ``grad_scale`` and ``found_inf`` and applies them in its
    own pass over the weights. With any other optimizer the host waits for the norm.

    Args:
        optimizer: optimizer that is about to take its step.
        norm: (), the norm of all its gradients.
        max_norm: largest norm that is left unchanged; None disables clipping.

    Returns:
        Whether the step is skipped.
    """
    if steps_on_device(optimizer):
        skipped = (~norm.isfinite()).float()
        # Fused Adam divides by `grad_scale`.
        scale = None if max_norm is None else ((norm.float() + 1e-6) / max_norm).clamp(min=1.0)
        optimizer.grad_scale, optimizer.found_inf = scale, skipped  # type: ignore[attr-defined] # read in Adam's step
        return DeviceFlag(skipped)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    flag = DeviceFlag(~norm.isfinite())
    if flag:
        # Optimizers ignore parameters without a gradient, including their moments and step counts.
        optimizer.zero_grad(set_to_none=True)
    elif max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=_foreach(parameters))
    return flag


def steps_on_device(optimizer: Optimizer) -> bool:
    """Return whether ``optimizer`` clips and skips by itself, as a fused Adam does.

    Fused SGD would leave its momentum undefined if its first step was skipped.
    """
    return isinstance(optimizer, Adam | AdamW) and all(group["fused"] for group in optimizer.param_groups)


def match_layout(optimizer: Optimizer) -> None:
    """Give the moments of ``optimizer`` the strides of their parameters, as its fused kernel requires.

    Moments from a checkpoint have the memory format of the run that wrote it.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def allow_external_unscaling(optimizer: Optimizer) -> None:
    """Make Lightning undo the loss scaling of ``16-mixed`` before clipping, as for any other optimizer.

    Otherwise a fused optimizer undoes it inside its step, after the gradients were clipped.
    """
    # torch and Lightning have no public switch; both read this attribute, which a fused optimizer sets to True.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def _foreach(parameters: Sequence[nn.Parameter]) -> bool | None:
    # On a GPU torch chooses this by itself. On a CPU it avoids the overhead of one call per tensor.
    return True if all(parameter.device.type == "cpu" for parameter in parameters) else None
