"""Find operations that make the host wait for a GPU, on a machine without a GPU.

The device ``meta`` replaces the GPU. Its tensors have shapes but no values, so an operation that needs a value
(``item``, ``nonzero``, a copy to the host, a branch on a tensor) raises. Blocking copies from the host are found by
checking every operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CARD = torch.device("meta")


class _NoNumbers(TorchFunctionMode):
    """Forbid ``torch.tensor(numbers, device=...)``, a blocking copy that no dispatched operation shows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor):
            assert out.device != CARD, "a tensor made from Python numbers: a blocking copy"
        return out


class NoHostWait(TorchDispatchMode):
    """Raise AssertionError at an operation that makes the host wait for the GPU; count the others."""

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
            assert not waits, f"{name}: a blocking copy from the host"
        if name in ("index", "index_put", "index_put_"):
            masks = [index for index in args[1] if isinstance(index, Tensor) and index.dtype == torch.bool]
            assert not any(mask.device == CARD for mask in masks), (
                f"{name}: a boolean mask as an index needs its values on the host"
            )
        self.on_card += made_on_card
        return out
