"""Bits per dimension of a data set, with addressed random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from ...noise import Address, Word
from ...sde.score_model import Model
from ...stored_values import BYTES, IDENTITY, StoredValues
from .likelihood import Likelihood, LikelihoodOutput


class BitsPerDim:
    """Uniform dequantization, then the likelihood.

    Args:
        likelihood: the method.
        dequantize: spread bytes over their bins; false for data that are already dequantized or are not bytes.
    """

    def __init__(self, likelihood: Likelihood, dequantize: bool = True) -> None:
        self.likelihood = likelihood
        self.dequantize = dequantize and likelihood.data_range != "continuous"
        self.values = IDENTITY if likelihood.data_range == "continuous" else BYTES
        self.data_range = "centered" if likelihood.data_range == "continuous" else likelihood.data_range
        self.dequantized = False

    def for_data(self, values: StoredValues, data_range: str, dequantized: bool = False) -> BitsPerDim:
        """The same measure for data of another depth, in the range of a model.

        Args:
            values: depth and range of the stored data.
            data_range: data range of the model, ``unit`` or ``centered``.
            dequantized: whether the data are dequantized already.
        """
        made = copy(self)
        made.values, made.data_range, made.dequantized = values, data_range, dequantized
        made.dequantize = self.dequantize and values.levels is not None and not dequantized
        return made

    @property
    def unit(self) -> str:
        """A description of the value for reports."""
        if self.values.levels is None:
            per = "" if self.values == IDENTITY else f" per unit of {self.values.name}"
            return f"density{per}"
        depth = "bytes" if self.values == BYTES else self.values.name
        if self.dequantize or self.dequantized:
            return f"{depth}, uniform dequantization"
        return f"{depth} without dequantization: the density at the levels, not a bound"

    def __call__(
        self, model: Model, x: Float[Tensor, "b *d"], address: Address, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, " b"]:
        """Bits per dimension (B,) of data x (B, *d); see ``output``."""
        return self.output(model, x, address, cond).bits_per_dim

    def output(
        self, model: Model, x: Float[Tensor, "b *d"], address: Address, cond: Mapping[str, Tensor] | None = None
    ) -> LikelihoodOutput:
        """Compute the output of the likelihood.

        Bits per dimension refer to the stored data: with L levels, to the probability of a level, whose bin is 1/L of
        the range; for continuous data, to the density per unit of the stored values.

        Args:
            model: score and SDE.
            x: (B, *d), in the range of the model.
            address: the address of dequantization noise and probes.
            cond: named tensors for the net.
        """
        if self.dequantize:
            # The spelling is part of the address: it keeps bits/dim equal to those of earlier versions.
            u = address.uniform("dequantisation", x.shape[1:]).to(x.dtype)
            x = self.values.spread(x, self.data_range, u)
        output = self.likelihood(model, x, _NoiseAt(address), cond)
        offset = self.values.bits_per_dim_offset(self.data_range)
        return replace(output, bits_per_dim=output.bits_per_dim + (offset - self.likelihood.offset))


@dataclass(frozen=True)
class _NoiseAt:
    """Noise at one step of a run; the step of the sampler is part of the purpose."""

    address: Address

    def __call__(self, purpose: str, step: Word, like: Tensor) -> Tensor:
        return self.address.normal(f"{purpose}/{step}", like)
