"""Detect operations that make the host wait for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_READS = frozenset(
    (
        _aten._local_scalar_dense,
        _aten._unique2,
        _aten.bincount,
        _aten.equal,
        _aten.is_nonzero,
        _aten.masked_select,
        _aten.nonzero,
        _aten.unique_consecutive,
        _aten.unique_dim,
    )
)
"""Operations whose result the host needs: a value, or a shape that depends on values."""


class Watch:
    """While on, operations that wait for the device raise RuntimeError.

    On CUDA torch raises. On other devices the watch checks every operation for results that the host needs.

    Args:
        device: device whose operations are watched.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps = 0
        self.is_on = False
        self._mode: _Raise | None = None

    def begin(self) -> None:
        """Switch on, at the start of a step or between two steps."""
        self.steps += 1
        self.is_on = True
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        else:
            self._mode = _Raise()
            self._mode.__enter__()

    def end(self) -> None:
        """Switch off."""
        self.is_on = False
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        elif self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None


class _Raise(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket
        by_mask = name in (_aten.index, _aten.index_put, _aten.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in _READS or by_mask:
            raise RuntimeError(f"{func} on a CUDA device is a synchronizing operation")
        return func(*args, **(kwargs or {}))
