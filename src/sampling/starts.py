"""Starting points of samplers: a sample of the prior, the latent of given data, or an interpolation of two of them.

A starting point is a function of the index of the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import UserError
from ..noise import AddressedNoise
from ..sde.score_model import Condition, Model
from .interpolation import slerp, temper

Encode = Callable[..., tuple[Tensor, Tensor]]
"""encode(model, x (B, *d), cond) -> latents (B, *d), evaluations (B,); see ``ProbabilityFlowODE.encode``."""


@runtime_checkable
class Start(Protocol):
    """States at T."""

    def address(self, index: Tensor) -> Tensor:
        """The index (B,) that addresses noise, class and constraint of the samples ``index`` (B,)."""
        ...

    def __call__(self, model: Model, index: Tensor, like: Tensor, cond: Condition = None) -> Tensor:
        """Return the states (B, *d) of the samples ``index`` (B,), like ``like`` (B, *d)."""
        ...


class _OwnAddress:
    def address(self, index: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return ``index``: each sample has its own noise."""
        return index


class PriorStart(_OwnAddress):
    """Samples of the prior.

    Args:
        seed: seed of the run.
        temperature: factor of their distance from the prior's mean.
    """

    def __init__(self, seed: int, temperature: float = 1.0) -> None:
        self.seed = seed
        self.temperature = _positive(temperature)

    def __call__(
        self, model: Model, index: Int64[Tensor, " b"], like: Float[Tensor, "b *d"], cond: Condition = None
    ) -> Float[Tensor, "b *d"]:
        z = model.sde.prior_sample(AddressedNoise(self.seed, index)("prior", 0, like))
        return z if self.temperature == 1 else temper(model.sde, z, self.temperature)


class EncodedStart(_OwnAddress):
    """Latents of given data, from which a deterministic sampler reconstructs the data.

    Args:
        encode: maps data to latents; its evaluations of the net are not counted.
        data: data(index (B,)) -> (B, *d).
        temperature: factor of their distance from the prior's mean.
    """

    def __init__(self, encode: Encode, data: Callable[[Tensor], Tensor], temperature: float = 1.0) -> None:
        self.encode = encode
        self.data = data
        self.temperature = _positive(temperature)

    def __call__(
        self, model: Model, index: Int64[Tensor, " b"], like: Float[Tensor, "b *d"], cond: Condition = None
    ) -> Float[Tensor, "b *d"]:
        z, _ = self.encode(model, self.data(index).to(like), cond)
        return z if self.temperature == 1 else temper(model.sde, z, self.temperature)


class Interpolation:
    """Interpolation: sample k of n starts at the fraction k / (n - 1) between the starts of ``first`` and ``last``.

    All samples share noise, class and constraint of ``first``, so that stochastic samplers also give a smooth path.

    Args:
        ends: starting points of the two ends.
        first: index of the first end.
        last: index of the last end.
        count: n.
    """

    def __init__(self, ends: Start, first: int, last: int, count: int) -> None:
        if count < 2 or first < 0 or last < 0:
            raise UserError(f"interpolate=[{first},{last},{count}]: give two indices from 0 and at least 2 samples")
        self.ends = ends
        self.first, self.last, self.count = first, last, count

    def address(self, index: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the index ``first`` for all samples."""
        return torch.full_like(index, self.first)

    def __call__(
        self, model: Model, index: Int64[Tensor, " b"], like: Float[Tensor, "b *d"], cond: Condition = None
    ) -> Float[Tensor, "b *d"]:
        two = torch.tensor([self.first, self.last], device=index.device)
        shared = None if cond is None else {name: value[:1].expand(2, *value.shape[1:]) for name, value in cond.items()}
        z = self.ends(model, two, like[:1].expand(2, *like.shape[1:]), shared)
        weights = index.to(like.dtype) / (self.count - 1)
        return slerp(model.sde, z[:1], z[1:], weights)[:, 0]


def _positive(temperature: float) -> float:
    if temperature <= 0:
        raise UserError(f"temperature={temperature}: give a positive number, 1 for samples of the model")
    return temperature
