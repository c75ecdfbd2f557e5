"""Meaning of the numbers of a data set: bit depth and range.

The only definition of their conversion from and to the range of a model, of dequantization and of the bits/dim offset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .data_range import check_quantize, width
from .errors import UserError

DTYPES = ("uint8", "uint16", "float16", "float32")
_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class StoredValues:
    """Stored numbers of a data set.

    Args:
        dtype: ``uint8``, ``uint16`` (held as int32 in tensors), ``float16`` or ``float32``.
        low: the stored value that maps to the lower end of the model's range.
        high: the stored value that maps to the upper end.

    Raises:
        UserError: an unknown dtype, or an empty range.
    """

    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"datamodule.dtype={self.dtype}: choose one of {', '.join(DTYPES)}")
        if not self.high > self.low or not math.isfinite(self.high - self.low):
            raise UserError(
                f"datamodule.value_range=[{self.low:g}, {self.high:g}]: give the smallest and the largest value, "
                "as [0, 4095]"
            )

    @property
    def levels(self) -> int | None:
        """Number of values in the range; None for continuous data."""
        return None if self.dtype.startswith("float") else round(self.high - self.low) + 1

    @property
    def name(self) -> str:
        """Describe depth and range: ``8 bits``, ``12 bits``, ``float32 in [-1, 1]``."""
        if self.levels is None:
            return f"{self.dtype} in [{self.low:g}, {self.high:g}]"
        bits = math.log2(self.levels)
        depth = f"{bits:.0f} bits" if bits.is_integer() else f"{self.levels} levels"
        return depth if self.low == 0 else f"{depth} from {self.low:g}"

    @property
    def torch_dtype(self) -> torch.dtype:
        """Dtype of tensors of stored values, as ``from_model`` returns them."""
        dtypes = {"uint8": torch.uint8, "uint16": torch.int32}
        return dtypes.get(self.dtype, torch.float32)

    def unit(self, data_range: str) -> float:
        """Width, in the model's range, of one level or of one unit of continuous data."""
        steps = self.high - self.low if self.levels is None else self.levels
        return width(data_range) / steps

    def bits_per_dim_offset(self, data_range: str) -> float:
        """Return the bits per dimension to add to -log2 p / d, where p is the density in the range of the model.

        The sum refers to a density per level, or per unit of continuous stored values. For bytes, the offset is 8 in
        unit range and 7 in centered range.
        """
        return -math.log2(self.unit(data_range))

    def to_model(self, x: Tensor, data_range: str) -> Tensor:
        """Convert stored values (B, *d) to float32 in ``data_range``: ``low`` maps to its lower end, ``high`` to its
        upper end.
        """
        x = x.to(torch.float32)
        if self == IDENTITY and data_range == "centered":
            return x
        if self.low:
            x = x.sub(self.low)
        span = self.high - self.low
        return x.div(span) if data_range == "unit" else x.div(span / 2).sub_(1)

    def dequantize(self, x: Tensor, data_range: str, u: Tensor) -> Tensor:
        """Uniform dequantization: levels k as (k + u) / L in [0, 1], or 2 (k + u) / L - 1 in [-1, 1].

        The L levels tile the whole range, and the density of the result bounds the probability of the levels from
        below (Theis et al. 2016, "A note on the evaluation of generative models", section 3.1). Continuous data stay
        as ``to_model`` has them.

        Args:
            x: (B, *d) stored values.
            data_range: range of the result.
            u: (B, *d) uniform in [0, 1).
        """
        if self.levels is None:
            return self.to_model(x, data_range)
        x = x.to(torch.float32)
        x = (x.sub(self.low) if self.low else x).add(u)
        return x.div(self.levels) if data_range == "unit" else x.div(self.levels / 2).sub_(1)

    def spread(self, x: Tensor, data_range: str, u: Tensor) -> Tensor:
        """Apply ``dequantize`` to floats that ``to_model`` has already converted to ``data_range``."""
        return x if self.levels is None else self.dequantize(self.from_model(x, data_range), data_range, u)

    def from_model(self, x: Tensor, data_range: str, quantize: str = "round") -> Tensor:
        """Convert floats in ``data_range`` to stored values; integers are clipped to the range, NaN becomes ``low``.

        Args:
            x: (B, *d) float.
            data_range: ``unit`` or ``centered``.
            quantize: ``round`` to the nearest level, halves upwards (as EDM does), or ``truncate`` toward the lower one
                (as the code of Song et al. 2021 does, which darkens an image by half a level); ignored for continuous
                data.

        Raises:
            UserError: an unknown way to quantize.
        """
        check_quantize(quantize)
        if self == IDENTITY and data_range == "centered":
            return x.float()
        span = self.high - self.low
        scaled = x.float() * span if data_range == "unit" else (x.float() + 1) * (span / 2)
        if self.levels is None:
            return scaled + self.low
        shifted = scaled + 0.5 if quantize == "round" else scaled
        return (shifted.nan_to_num(0).clamp(0, span).floor() + self.low).to(self.torch_dtype)

    def to_bytes(self, x: Tensor) -> Tensor:
        """Convert stored values to uint8 by rounding, for pictures and for features of bytes."""
        return x if self == BYTES else BYTES.from_model(self.to_model(x, "unit"), "unit")

    def scored_as(self, quantize: str) -> str:
        """How stored values became the bytes that extractors see, for the protocol of a score.

        Args:
            quantize: how samples became stored values.
        """
        return quantize if self == BYTES else f"{quantize} to bytes of {self.name}"

    def as_node(self) -> dict[str, Any]:
        """Settings of a datamodule that ``values_of`` reads."""
        return {"dtype": self.dtype, "value_range": [self.low, self.high]}


BYTES = StoredValues()
IDENTITY = StoredValues("float32", -1.0, 1.0)
"""Continuous data that a model in [-1, 1] uses unchanged."""


def values_of(datamodule: Mapping[str, Any]) -> StoredValues:
    """Return the stored values that a checkpoint's datamodule node describes; by default bytes, or unchanged points."""
    dtype, ends = datamodule.get("dtype"), datamodule.get("value_range")
    if dtype is None or ends is None:
        return IDENTITY if "dim" in datamodule and "dtype" not in datamodule else BYTES
    return StoredValues(str(dtype), float(ends[0]), float(ends[1]))


def measured(dtype: str, low: float, high: float) -> StoredValues:
    """Return the range of values of ``dtype`` that lie in [low, high].

    uint8 is [0, 255]. uint16 starts at 0 and ends at the smallest of 8, 10, 12, 14, 16 bits that contains ``high``.
    Floats have the range [0, 1] or [-1, 1] if they lie in it and use more than half of it, else [low, high].
    """
    if dtype == "uint8":
        return BYTES
    if dtype == "uint16":
        bits = next(bits for bits in _DEPTHS if high < 2**bits)
        return StoredValues(dtype, 0.0, float(2**bits - 1))
    if low >= 0 and 0.5 < high <= 1:
        return StoredValues(dtype, 0.0, 1.0)
    if low >= -1 and 0.5 < max(high, -low) <= 1:
        return StoredValues(dtype, -1.0, 1.0)
    return StoredValues(dtype, low, high if high > low else low + 1.0)


def chosen(dtype: str, value_range: Sequence[float] | None, low: float, high: float) -> StoredValues:
    """Return the given range, or the range of the data.

    Args:
        dtype: dtype of the data.
        value_range: [smallest, largest] as set by the user; None reads it from the data.
        low: smallest value of the data.
        high: largest value of the data.

    Raises:
        UserError: data lie outside the given range.
    """
    if value_range is None:
        return measured(dtype, low, high)
    if len(value_range) != 2:
        raise UserError(f"datamodule.value_range={list(value_range)}: give two numbers, as [0, 4095]")
    made = StoredValues(dtype, float(value_range[0]), float(value_range[1]))
    if low < made.low or high > made.high:
        raise UserError(
            f"the data lie in [{low:g}, {high:g}], outside datamodule.value_range=[{made.low:g}, {made.high:g}]: "
            "values are never clipped, so give a range that holds them, or null to read it from the data"
        )
    return made
