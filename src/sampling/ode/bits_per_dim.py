"""Bits per dimension of a data set, with random numbers found by their address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...data_range import dequantize, to_bytes
from ...noise import Address, Word
from ...sde.score_model import Model
from .likelihood import Likelihood, LikelihoodOutput


class BitsPerDim:
    """Uniform dequantization, then the likelihood.

    Args:
        likelihood: how it is computed.
        dequantize: spread bytes over their bins; off for data that already are, or that are no bytes.
    """

    def __init__(self, likelihood: Likelihood, dequantize: bool = True) -> None:
        self.likelihood = likelihood
        self.dequantize = dequantize and likelihood.data_range != "continuous"

    def __call__(
        self, model: Model, x: Float[Tensor, "b *d"], address: Address, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, " b"]:
        """Bits per dimension (B,) of data x (B, *d); see ``output``."""
        return self.output(model, x, address, cond).bits_per_dim

    def output(
        self, model: Model, x: Float[Tensor, "b *d"], address: Address, cond: Mapping[str, Tensor] | None = None
    ) -> LikelihoodOutput:
        """Everything the likelihood computes.

        Args:
            model: score and SDE.
            x: (B, *d), in the range of the data.
            address: where the dequantization noise and the probes of these samples are found.
            cond: named tensors for the net.
        """
        if self.dequantize:
            # The spelling is part of the address: bits/dim of earlier versions repeat.
            u = address.uniform("dequantisation", x.shape[1:]).to(x.dtype)
            x = dequantize(to_bytes(x, self.likelihood.data_range), self.likelihood.data_range, u)
        return self.likelihood(model, x, _NoiseAt(address), cond)


@dataclass(frozen=True)
class _NoiseAt:
    """Noise of one step of a run, where a sampler's steps have become part of the purpose."""

    address: Address

    def __call__(self, purpose: str, step: Word, like: Tensor) -> Tensor:
        return self.address.normal(f"{purpose}/{step}", like)
