"""Linear measurements y = H x of images and their inversion.

An operator applies H and its transpose, and solves (H H^T + damping I) v = y in closed form: for each H here, H H^T is
a multiple of the identity or diagonal in the Fourier basis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...data_range import check_range, width
from ...errors import UserError
from ...image_shape import flat_shape
from ...noise import normal
from ...sde import expand
from .masks import AnyMask, mask_for

KERNELS = ("gaussian", "uniform")


class _Constant:
    """A tensor with cached copies, one for each device and dtype that was requested."""

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._kept: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    # An output of a compiled graph must not be cached: the next replay overwrites it.
    @torch.compiler.disable  # type: ignore[untyped-decorator] # torch has no type for it
    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """Return the tensor on ``device``, in ``dtype`` if given."""
        key = device, dtype or self._value.dtype
        if key not in self._kept:
            # A tensor made in inference mode could not be part of a graph later.
            with torch.inference_mode(False):
                self._kept[key] = self._value.to(*key)
        return self._kept[key]


class LinearOperator(ABC):
    """H, from data (B, *d) to measurements (B, *m)."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b *m"]:
        """H x."""

    @abstractmethod
    def transpose(self, y: Float[Tensor, "b *m"]) -> Float[Tensor, "b *d"]:
        """H^T y."""

    @abstractmethod
    def solve(self, y: Float[Tensor, "b *m"], damping: Tensor) -> Float[Tensor, "b *m"]:
        """(H H^T + damping I)^-1 y; the pseudo-inverse if the matrix is singular.

        Args:
            y: (B, *m).
            damping: () or (B,), >= 0.
        """

    def pseudo_inverse(self, y: Float[Tensor, "b *m"]) -> Float[Tensor, "b *d"]:
        """The least-squares solution of smallest norm: H^T (H H^T)^+ y."""
        return self.transpose(self.solve(y, torch.zeros((), dtype=torch.float64)))


class _TightFrame(LinearOperator):
    """H H^T = gram I."""

    gram: float = 1.0

    def solve(self, y: Float[Tensor, "b *m"], damping: Tensor) -> Float[Tensor, "b *m"]:
        return y / expand(self.gram + damping, y).to(y.dtype)


class Downsampling(_TightFrame):
    """Super-resolution: means over blocks of factor x factor pixels.

    Args:
        factor: > 1, a divisor of the image's sides.
    """

    def __init__(self, factor: int = 2) -> None:
        if factor < 2:
            raise UserError(f"downsampling factor is {factor}: give at least 2")
        self.factor = factor
        self.gram = 1 / factor**2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c p q"]:
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise UserError(f"downsampling by {self.factor} does not divide images of {x.shape[2]} x {x.shape[3]}")
        return F.avg_pool2d(x, self.factor)

    def transpose(self, y: Float[Tensor, "b c p q"]) -> Float[Tensor, "b c h w"]:
        spread = y.repeat_interleave(self.factor, dim=2).repeat_interleave(self.factor, dim=3)
        return spread / self.factor**2


class Masking(_TightFrame):
    """Inpainting: the known elements as a vector.

    Args:
        shape: (*d) of an image; see ``flat_shape``.
        mask: 1 where known, broadcastable to an image; ``mask_for`` lists other forms.

    Raises:
        UserError: nothing is known, or the mask does not fit.
    """

    def __init__(self, shape: Sequence[Any], mask: AnyMask) -> None:
        self.shape = flat_shape(shape)
        known = mask_for(mask, self.shape)
        try:
            index = known.bool().expand(self.shape).flatten().nonzero().flatten()
        except RuntimeError as error:
            raise UserError(f"a mask of shape {tuple(known.shape)} does not fit images of {self.shape}") from error
        if len(index) == 0:
            raise UserError("the mask has no known pixels")
        self._index = _Constant(index)

    def forward(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b m"]:
        return x.flatten(1)[:, self._index.on(x.device)]

    def transpose(self, y: Float[Tensor, "b m"]) -> Float[Tensor, "b *d"]:
        x = y.new_zeros(len(y), math.prod(self.shape))
        return x.index_copy(1, self._index.on(y.device), y).reshape(-1, *self.shape)


class RandomProjection(_TightFrame):
    """Compressed sensing: m orthonormal random directions.

    Args:
        shape: (*d) of an image; see ``flat_shape``.
        measurements: m, at most the number of elements of an image.
        seed: seed of the directions.
    """

    def __init__(self, shape: Sequence[Any], measurements: int, seed: int = 0) -> None:
        self.shape = flat_shape(shape)
        dimension = math.prod(self.shape)
        if not 0 < measurements <= dimension:
            raise UserError(f"{measurements} random measurements of {dimension} elements: give 1 to {dimension}")
        gaussian = normal(seed, "projection", 0, torch.arange(measurements), (dimension,), torch.float64)
        self._rows = _Constant(torch.linalg.qr(gaussian.T)[0].T)

    def forward(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, "b m"]:
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = x.flatten(1) @ self._rows.on(x.device, x.dtype).T
        return y

    def transpose(self, y: Float[Tensor, "b m"]) -> Float[Tensor, "b *d"]:
        with torch.autocast(y.device.type, enabled=False):
            x: Tensor = y @ self._rows.on(y.device, y.dtype)
        return x.reshape(-1, *self.shape)


class Blur(LinearOperator):
    """Convolution of every channel with a normalized kernel and periodic borders.

    Args:
        kernel: ``gaussian`` or ``uniform``.
        size: width of the kernel in pixels, odd.
        std: standard deviation of the Gaussian, in pixels.
        cutoff: the pseudo-inverse ignores Fourier coefficients smaller than this.
    """

    def __init__(self, kernel: str = "gaussian", size: int = 9, std: float = 1.5, cutoff: float = 1e-4) -> None:
        if kernel not in KERNELS:
            raise UserError(f"blur kernel is {kernel!r}: choose one of {', '.join(KERNELS)}")
        if size < 1 or size % 2 == 0 or std <= 0:
            raise UserError(f"a blur needs an odd size and a positive std, got size={size}, std={std}")
        distance = torch.arange(size, dtype=torch.float64) - size // 2
        weights = torch.exp(-0.5 * (distance / std).square()) if kernel == "gaussian" else torch.ones_like(distance)
        self.weights = weights / weights.sum()
        self.cutoff = cutoff
        self._spectra: dict[tuple[int, ...], _Constant] = {}

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self._multiply(x, self._spectrum(x))

    def transpose(self, y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        # The kernel is symmetric: its spectrum is real, and H^T = H.
        return self.forward(y)

    def solve(self, y: Float[Tensor, "b c h w"], damping: Tensor) -> Float[Tensor, "b c h w"]:
        power = self._spectrum(y).square()
        total = power + expand(damping, y).to(y)
        kept = (power > self.cutoff**2) | (expand(damping, y).to(y) > 0)
        return self._multiply(y, torch.where(kept, 1 / total, 0.0))

    @torch.compiler.disable  # type: ignore[untyped-decorator] # torch has no type for it
    def _spectrum(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        if size not in self._spectra:
            height, width = (self._transform(length) for length in size)
            self._spectra[size] = _Constant(height[:, None] * width[: size[-1] // 2 + 1])
        spectrum: Tensor = self._spectra[size].on(x.device, x.dtype)
        return spectrum

    def _transform(self, length: int) -> Tensor:
        """Fourier coefficients (length,) of the kernel, real, since it is symmetric about 0."""
        offsets = torch.arange(len(self.weights), dtype=torch.float64) - len(self.weights) // 2
        frequencies = torch.arange(length, dtype=torch.float64) * (2 * math.pi / length)
        coefficients: Tensor = torch.cos(frequencies[:, None] * offsets) @ self.weights
        return coefficients

    def _multiply(self, x: Tensor, spectrum: Tensor) -> Tensor:
        product: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * spectrum, s=x.shape[-2:])
        return product


def measurement_error(
    operator: LinearOperator, x: Float[Tensor, "b *d"], y: Float[Tensor, "b *m"]
) -> Float[Tensor, " b"]:
    """Root mean square of y - H x over the elements of a measurement, (B,); for the true x, the std of the noise."""
    return (y - operator.forward(x)).flatten(1).square().mean(1).sqrt()


def psnr(x: Float[Tensor, "b *d"], reference: Float[Tensor, "b *d"], data_range: str = "unit") -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio in decibels, (B,); the peak is the width of the range of the data.

    Raises:
        UserError: the range is neither ``unit`` nor ``centered``.
    """
    peak = width(check_range(data_range))
    return 10 * torch.log10(peak**2 / (x - reference).flatten(1).square().mean(1))
