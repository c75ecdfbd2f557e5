"""The loss of a training step as one compiled graph: times, noise, net and weighting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..noise import Address

LossFunction = Callable[..., Tensor]
"""An objective, compiled or not."""

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def check_mode(name: str, value: bool | str) -> None:
    """Raise UserError if ``value`` of the setting ``name`` is neither true, false nor a mode of ``torch.compile``."""
    if not isinstance(value, bool) and value not in _MODES:
        raise UserError(f"{name}={value}: give true, false, or one of {', '.join(_MODES)}")


class CompiledLoss:
    """Compile ``objective`` at its first call and call it like the original.

    The step is passed as a tensor, so that one graph serves all steps.

    Args:
        objective: ``objective(model, x, address, cond, train=...)`` -> losses (B,).
        mode: true, or a mode of ``torch.compile``.
        options: further arguments of ``torch.compile``.
    """

    def __init__(self, objective: LossFunction, mode: bool | str = True, **options: Any) -> None:
        self._objective = objective
        self._graph = torch.compile(
            self._traced, mode=mode if isinstance(mode, str) else None, dynamic=False, **options
        )

    def __call__(
        self, model: nn.Module, x: Tensor, address: Address, cond: Mapping[str, Tensor] | None, train: bool
    ) -> Tensor:
        """Return losses (B,) of x (B, *d) at ``address``, equal to those of the objective up to rounding."""
        # Fill the tensor on the device: a copy from the host would wait.
        step = address.step
        if not isinstance(step, Tensor):
            step = torch.full((), step, dtype=torch.int64, device=x.device)
        losses: Tensor = self._graph(model, x, address.seed, step, address.position, cond, train)
        return losses

    def _traced(
        self,
        model: nn.Module,
        x: Tensor,
        seed: int,
        step: Tensor,
        position: Tensor,
        cond: Mapping[str, Tensor] | None,
        train: bool,
    ) -> Tensor:
        return self._objective(model, x, Address(seed, step, position), cond, train=train)
