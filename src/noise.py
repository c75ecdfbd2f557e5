"""Addressed randomness: noise as a pure function of (seed, purpose, step, index).

A stream of random numbers depends on all earlier draws; an address does not. Every random number of this project is
looked up by its purpose and its address. It therefore does not depend on the batch size, the number of processes, the
order of work or the number of interruptions.

The generator is Philox4x32-10, a counter-based bijection (Salmon et al. 2011, "Parallel random numbers: as easy as 1,
2, 3"). With w_j the four 32-bit words of one call, element 4 b + j of a sample is word j of

    philox(counter = (b, index, step, crc32(purpose)), key = (seed low, seed high)).

Words become uniforms by u = (w + 1/2) 2^-32 and pairs of uniforms become normals by Box and Muller (1958). Everything
is integer arithmetic on whole tensors, on the device of ``index``.

On CUDA, outside of ``torch.compile`` (which fuses the tensor form by itself), one Triton kernel computes the same
numbers in one launch; the environment variable ``SCORE_SDE_FUSED_NOISE=0`` disables it.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .errors import UserError

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

Word = Tensor | int
Words = tuple[Tensor, Tensor, Tensor, Tensor]


def check_seed(seed: object, name: str = "seed", limit: int = 2**64) -> None:
    """Raise UserError unless ``seed`` is a whole number in [0, limit); larger seeds would repeat the numbers of other
    seeds.

    Args:
        seed: the value.
        name: name of the setting, for the message.
        limit: 2^64, the number of keys of the generator, or less.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < limit:
        raise UserError(f"{name}={seed}: give a whole number from 0 to {limit - 1}")


def philox(counter: tuple[Word, Word, Word, Word], key: tuple[int, int]) -> tuple[Word, Word, Word, Word]:
    """Philox4x32-10.

    Args:
        counter: four 32-bit words, each an int or an int64 tensor; they broadcast against each other.
        key: two 32-bit words.

    Returns:
        Four words in [0, 2^32), int64 (ints if every counter word is one).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        (high0, low0), (high1, low1) = _product(c0, _MULTIPLIERS[0]), _product(c2, _MULTIPLIERS[1])
        c0, c1 = (high1 ^ c1 ^ k0) & _MASK, low1
        c2, c3 = (high0 ^ c3 ^ k1) & _MASK, low0
        k0, k1 = (k0 + _KEY_INCREMENTS[0]) & _MASK, (k1 + _KEY_INCREMENTS[1]) & _MASK
    return c0, c1, c2, c3


def _product(word: Word, multiplier: int) -> tuple[Word, Word]:
    """Return the high and the low 32 bits of a product of 32-bit words; bits above 32 of the high word have no meaning.

    Eager kernels wrap a signed product modulo 2^64. In the C++ that torch.compile writes, its overflow is undefined,
    and gcc does use that (wrong words with torch 2.6 to 2.8): compiled, the product is made of halves that fit.
    """
    if not torch.compiler.is_compiling():
        product = word * multiplier
        return product >> 32, product & _MASK
    return _product_of_halves(word, multiplier)


def _product_of_halves(word: Word, multiplier: int) -> tuple[Word, Word]:
    upper = word * (multiplier >> 16)
    lower = word * (multiplier & 0xFFFF) + ((upper & 0xFFFF) << 16)
    return (upper >> 16) + (lower >> 32), lower & _MASK


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch has no type for it
def _number(purpose: str) -> int:
    return _hash(purpose)


@functools.lru_cache(4096)
def _hash(purpose: str) -> int:
    return zlib.crc32(purpose.encode())


@functools.cache
def _kernel_exists() -> bool:
    """Return whether the Triton kernel can run: it needs CUDA and real tensors."""
    wanted = os.environ.get("SCORE_SDE_FUSED_NOISE", "1") != "0"
    return wanted and torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


def _fused(index: Tensor, dtype: torch.dtype) -> bool:
    """Return whether the kernel can compute these numbers; it has no float64."""
    if torch.compiler.is_compiling() or not index.is_cuda:
        return False
    return dtype in (torch.float32, torch.bfloat16, torch.float16) and _kernel_exists()


def _fill(
    kind: str, seed: int, purpose: str, step: Word, index: Tensor, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    from .noise_kernel import fill

    _check_index(index)
    return fill(kind, seed, _hash(purpose), step, index, shape, dtype)


def _check_index(index: Tensor) -> None:
    if index.ndim != 1 or index.dtype != torch.int64:
        raise ValueError(f"index must be a vector of int64, got {index.dtype} of shape {tuple(index.shape)}")


@functools.lru_cache(256)
def _block_numbers(count: int, device: torch.device) -> Tensor:
    # An inference tensor could not be used outside.
    with torch.inference_mode(False):
        return torch.arange(count, device=device)


# As an arange inside a compiled graph they would be index expressions in int32, which a multiplier of Philox exceeds.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch has no type for it
def _blocks(count: int, device: torch.device) -> Tensor:
    return _block_numbers(count, device)


def words(seed: int, purpose: str, step: Word, index: Tensor, count: int) -> Words:
    """Return the four Philox words of ``count`` consecutive blocks of every sample.

    Args:
        seed: any integer; its low 64 bits are the key.
        purpose: what the numbers are for; different purposes are independent.
        step: the step of the process, taken modulo 2^32; an int, or an int64 tensor () where a graph serves all steps.
        index: (B,) int64, the address of each sample, taken modulo 2^32.
        count: blocks of four words for each sample.

    Returns:
        Four int64 tensors of shape (B, count) with values in [0, 2^32).
    """
    _check_index(index)
    block = _blocks(count, index.device)[None, :]
    counter = (block, (index & _MASK)[:, None], step & _MASK, _number(purpose))
    w0, w1, w2, w3 = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    assert isinstance(w0, Tensor) and isinstance(w1, Tensor) and isinstance(w2, Tensor) and isinstance(w3, Tensor)
    return w0, w1, w2, w3


def uniform(
    seed: int, purpose: str, step: Word, index: Tensor, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return uniform numbers in (0, 1) (rounding below float64 can give 0 and 1): (B, *shape) of ``dtype``."""
    return _numbers("uniform", seed, purpose, step, index, shape, dtype)


def normal(
    seed: int, purpose: str, step: Word, index: Tensor, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return standard normal numbers: (B, *shape) of ``dtype``.

    32-bit uniforms limit their magnitude to 6.8.
    """
    return _numbers("normal", seed, purpose, step, index, shape, dtype)


def _numbers(
    kind: str, seed: int, purpose: str, step: Word, index: Tensor, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """Return numbers of a distribution, from the kernel or from words."""
    if _fused(index, dtype):
        return _fill(kind, seed, purpose, step, index, shape, dtype)
    size = math.prod(shape)
    blocks = _FROM_WORDS[kind](words(seed, purpose, step, index, -(-size // 4)), dtype)
    return blocks.flatten(1)[:, :size].reshape(len(index), *shape).to(dtype)


def integer(seed: int, purpose: str, step: int, index: int) -> int:
    """Return a random integer in [0, 2^63), as a seed for a generator that is not addressed."""
    w0, w1, _, _ = philox((0, index & _MASK, step & _MASK, _number(purpose)), (seed & _MASK, (seed >> 32) & _MASK))
    return (int(w0) >> 1) << 32 | int(w1)


def permutation(seed: int, purpose: str, step: int, count: int) -> Tensor:
    """Return a random order of 0 .. count - 1: (count,) int64 on the CPU, sorted by 63-bit keys."""
    w0, w1, _, _ = words(seed, purpose, step, torch.arange(count), 1)
    keys = ((w0 >> 1) << 32) | w1
    order: Tensor = torch.argsort(keys.flatten(), stable=True)
    return order


def _unit(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Use at least float32: a word exceeds the range of float16, and the logarithm needs the precision."""
    unit: Tensor = word.to(torch.promote_types(dtype, torch.float32))
    return unit.add_(0.5).mul_(2.0**-32)


def _units(words: Words, dtype: torch.dtype) -> Tensor:
    return _unit(torch.stack(words, dim=-1), dtype)


def _normals(words: Words, dtype: torch.dtype) -> Tensor:
    """Box and Muller's pairs of each block."""
    numbers = []
    for radius_word, angle_word in (words[:2], words[2:]):
        radius = _unit(radius_word, dtype).log_().mul_(-2).sqrt_()
        angle = _unit(angle_word, dtype).mul_(2 * math.pi)
        numbers += [angle.cos().mul_(radius), angle.sin().mul_(radius)]
    return torch.stack(numbers, dim=-1)


_FROM_WORDS: dict[str, Callable[[Words, torch.dtype], Tensor]] = {
    "uniform": _units,
    "normal": _normals,
}
"""Numbers (B, blocks, 4) of each distribution from the words of the blocks."""


@dataclass(frozen=True)
class Address:
    """Address of the random numbers of one training step: (seed, step, position in the global batch).

    Args:
        seed: seed of the run.
        step: the optimizer step; an int64 tensor () in a graph that serves all steps.
        position: (B,) int64, on the device that needs the numbers.
    """

    seed: int
    step: Word
    position: Tensor

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Return standard normal noise in the shape (B, *d) and dtype of ``like``."""
        return normal(self.seed, purpose, self.step, self.position, like.shape[1:], like.dtype)

    def uniform(self, purpose: str, shape: Sequence[int] = ()) -> Tensor:
        """Return uniform numbers in (0, 1): (B, *shape) float32."""
        return uniform(self.seed, purpose, self.step, self.position, shape)


@runtime_checkable
class NoiseSource(Protocol):
    """Noise of a sampler: standard normal in the shape of ``like``, by purpose and step."""

    def __call__(self, purpose: str, step: Word, like: Tensor) -> Tensor:
        """Return noise in the shape, dtype and device of ``like``."""
        ...


@dataclass(frozen=True)
class AddressedNoise:
    """Noise of the images ``index`` of a run with ``seed``; image i gets the same noise in any batch.

    Args:
        seed: seed of the run.
        index: (B,) int64 sample addresses, on the device that needs the noise.
    """

    seed: int
    index: Tensor

    def __call__(self, purpose: str, step: Word, like: Tensor) -> Tensor:
        """Return standard normal noise of shape (B, *d) and the dtype of ``like`` (B, *d)."""
        return normal(self.seed, purpose, step, self.index, like.shape[1:], like.dtype)
