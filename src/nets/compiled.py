"""The compiled forward pass of a net: few graphs for all batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..errors import UserError
from ..runtime.compilation import many_graphs

Forward = Callable[[Tensor, Tensor, Mapping[str, Tensor] | None], Tensor]

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_WITH_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


def compile_mode(setting: bool | str | None) -> str | None:
    """Return the mode of ``torch.compile`` for ``compile=setting``; None for no compilation.

    Raises:
        UserError: the setting is neither true, false nor a mode.
    """
    if setting is None or isinstance(setting, bool):
        return "default" if setting else None
    if setting not in MODES:
        raise UserError(f"net.compile={setting} is unknown: give true, false or one of {', '.join(MODES)}")
    return setting


class CompiledForward:
    """``forward`` of a net, compiled for the batch sizes of its first calls.

    A batch that is smaller than a compiled size is padded with copies of its first example to the smallest such size,
    and the padding is removed from the output: validation, sampling and the last batch of an epoch use the graph of the
    training batches. While gradients are recorded, only sizes that were compiled with gradients count: a training batch
    is not padded to the size of a larger validation batch.

    Args:
        forward: forward pass of the net, (x, c_noise, cond) to the output, with one example of the batch per row.
        mode: of ``torch.compile``.
        backend: of ``torch.compile``.
    """

    def __init__(
        self, forward: Forward, mode: str = "default", backend: str | Callable[..., object] = "inductor"
    ) -> None:
        self._plain = forward
        self._compiled: Forward = torch.compile(
            forward, dynamic=False, backend=backend, mode=mode if backend == "inductor" else None
        )
        self._replays = mode in _WITH_CUDA_GRAPHS
        self._sizes: dict[bool, set[int]] = {False: set(), True: set()}

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Mapping[str, Tensor] | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            # Part of a larger graph.
            return self._plain(x, c_noise, cond)
        batch = len(x)
        size = self._size(batch)
        if size > batch:
            x, c_noise = _pad(x, batch, size), _pad(c_noise, batch, size)
            cond = cond and {name: _pad(value, batch, size) for name, value in cond.items()}
        with many_graphs():
            out = self._compiled(x, c_noise, cond)
        if self._replays and x.is_cuda and not torch.is_grad_enabled():
            # The next replay of the CUDA graph writes to the same memory.
            out = out.clone()
        return out[:batch]

    def _size(self, batch: int) -> int:
        """Return the padded number of examples of a batch."""
        recording = torch.is_grad_enabled()
        known = self._sizes[True] if recording else self._sizes[True] | self._sizes[False]
        size = min((size for size in known if size >= batch), default=batch)
        self._sizes[recording].add(size)
        return size


def _pad(value: Tensor, batch: int, size: int) -> Tensor:
    """Pad ``value`` with copies of its first row to ``size`` rows, if it has one row for each example of the batch."""
    if value.ndim == 0 or len(value) != batch:
        return value
    return torch.cat([value, value[:1].expand(size - batch, *value.shape[1:])])
