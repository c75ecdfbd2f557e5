"""Find where the host would wait for a GPU, on a machine without one.

The device ``meta`` stands in for the card: its tensors have shapes and no values, so whatever asks for a value
(``item``, ``nonzero``, a copy to the host, a branch on a tensor) raises by itself. Copies from the host that would wait
are found by looking at every operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CARD = torch.device("meta")


class _NoNumbers(TorchFunctionMode):
    """``torch.tensor(numbers, device=...)`` copies in a way that no operation shows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor):
            assert out.device != CARD, "a tensor of numbers of the host"
        return out


class NoHostWait(TorchDispatchMode):
    """Raises AssertionError at an operation for which the host would wait for the card; counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.on_card = 0
        self._numbers = _NoNumbers()

    def __enter__(self) -> NoHostWait:
        self._numbers.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._numbers.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        out = func(*args, **kwargs)
        tensors = [value for value in args if isinstance(value, Tensor)]
        made_on_card = isinstance(out, Tensor) and out.device == CARD
        from_host = bool(tensors) and all(value.device != CARD for value in tensors[-1:])
        if name in ("_to_copy", "copy_") and made_on_card and from_host:
            waits = not kwargs.get("non_blocking", args[2] if name == "copy_" and len(args) > 2 else False)
            assert not waits, f"{name}: a copy from the host that waits"
        if name in ("index", "index_put", "index_put_"):
            masks = [index for index in args[1] if isinstance(index, Tensor) and index.dtype == torch.bool]
            assert not any(mask.device == CARD for mask in masks), f"{name}: a mask as an index"
        self.on_card += made_on_card
        return out
