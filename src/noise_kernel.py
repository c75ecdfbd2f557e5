"""``noise`` as one fused Triton kernel: each program computes Philox blocks in registers and writes finished numbers.

``noise`` defines the numbers. The Philox words are equal; uniform and normal numbers agree within 1e-6. The kernel
replaces more than a hundred launches of the tensor form. Import this module only where triton is installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256
_KINDS = {"words": 0, "uniform": 1, "normal": 2}


@triton.jit(do_not_specialize=["key0", "key1", "step", "purpose", "size", "blocks"])  # type: ignore[untyped-decorator] # no stubs
def _kernel(  # type: ignore[no-untyped-def] # a kernel's arguments have types of Triton
    out,
    index,
    key0,
    key1,
    step,
    step_pointer,
    purpose,
    size,
    blocks,
    KIND: tl.constexpr,
    STEP_IS_TENSOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    c0 = block.to(tl.uint32)
    # A conversion to 32 bits keeps the low word: addresses count modulo 2^32.
    c1 = tl.load(index + sample).to(tl.uint32) + tl.zeros_like(c0)
    if STEP_IS_TENSOR:
        c2 = tl.load(step_pointer).to(tl.uint32) + tl.zeros_like(c0)
    else:
        c2 = step.to(tl.uint32, bitcast=True) + tl.zeros_like(c0)
    c3 = purpose.to(tl.uint32, bitcast=True) + tl.zeros_like(c0)
    k0 = key0.to(tl.uint32, bitcast=True) + tl.zeros_like(c0)
    k1 = key1.to(tl.uint32, bitcast=True) + tl.zeros_like(c0)
    w0, w1, w2, w3 = tl.philox_impl(c0, c1, c2, c3, k0, k1, 10)
    if KIND == 0:
        v0, v1, v2, v3 = w0.to(tl.int64), w1.to(tl.int64), w2.to(tl.int64), w3.to(tl.int64)
    elif KIND == 1:
        v0, v1, v2, v3 = _unit(w0), _unit(w1), _unit(w2), _unit(w3)
    else:
        v0, v1 = _box_muller(w0, w1)
        v2, v3 = _box_muller(w2, w3)
    element = block.to(tl.int64) * 4
    target = out + sample * size + element
    tl.store(target, v0, mask=(block < blocks) & (element < size))
    tl.store(target + 1, v1, mask=(block < blocks) & (element + 1 < size))
    tl.store(target + 2, v2, mask=(block < blocks) & (element + 2 < size))
    tl.store(target + 3, v3, mask=(block < blocks) & (element + 3 < size))


@triton.jit
def _unit(word):  # type: ignore[no-untyped-def]
    return (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10  # 2^-32


@triton.jit
def _box_muller(radius_word, angle_word):  # type: ignore[no-untyped-def]
    radius = tl.sqrt_rn(tl.log(_unit(radius_word)) * -2.0)
    angle = _unit(angle_word) * 6.283185307179586
    return tl.cos(angle) * radius, tl.sin(angle) * radius


def fill(
    kind: str, seed: int, purpose: int, step: Tensor | int, index: Tensor, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """Return numbers of ``kind`` at an address, in one launch.

    Args:
        kind: ``uniform``, ``normal`` or ``words`` (the Philox words in order, with int64 ``dtype``).
        seed: any integer; its low 64 bits are the key.
        purpose: the hash of the purpose, in [0, 2^32).
        step: an int, or an int64 tensor () on the device of ``index``; modulo 2^32.
        index: (B,) int64.
        shape: of one sample.
        dtype: dtype of the result: int64 for words, else float32 or a half precision.

    Returns:
        (B, *shape) of ``dtype``.
    """
    size = math.prod(shape)
    out = torch.empty((len(index), *shape), dtype=dtype, device=index.device)
    if out.numel() == 0:
        return out
    blocks = -(-size // 4)
    of_tensor = isinstance(step, Tensor)
    number = 0 if of_tensor else _signed(int(step))
    grid = (len(index), triton.cdiv(blocks, _BLOCK))
    arguments: tuple[Any, ...] = (
        *(out, index.contiguous(), _signed(seed), _signed(seed >> 32), number, step if of_tensor else index),
        *(_signed(purpose), size, blocks, _KINDS[kind], of_tensor, _BLOCK),
    )
    if out.is_cuda:
        # Triton launches on the current device.
        with torch.cuda.device(out.device):
            _kernel[grid](*arguments)
    else:
        _kernel[grid](*arguments)
    return out


def _signed(word: int) -> int:
    """Return the low 32 bits as a signed number, so that Triton compiles one kernel for all values."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >= 1 << 31 else word
