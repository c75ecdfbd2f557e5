"""Resampling by two: FIR filters (Karras et al. 2019, Zhang 2019), averages and nearest neighbours, convolutions.

With k the outer product of the normalised kernel with itself and P = len(kernel) - 2,

    down: y[n] = sum_j k[j] x[2 n + floor(P / 2) + 1 - j],
    up:   y[n] = 4 sum_j k[j] x0[n + floor(P / 2) - j],   x0 = x with zeros between the samples,

pixels outside the image being zero. Where a 3x3 convolution goes with it, the image is padded once for both:
the convolution sees filtered values beyond the border (the fused operators of StyleGAN2).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .layers import Conv2d


class FIRFilter(nn.Module):
    """Depthwise filtering with a separable kernel whose taps are normalised to a sum of one.

    Args:
        kernel: taps, at least two.
        gain: factor on the output.
    """

    def __init__(self, kernel: Sequence[float], gain: float = 1.0) -> None:
        super().__init__()
        if len(kernel) < 2 or sum(kernel) == 0:
            raise UserError(f"fir_kernel={list(kernel)} must have at least two taps and a sum other than zero")
        self.kernel = tuple(float(tap) for tap in kernel)
        self.gain = gain
        self.taps = len(self.kernel)
        self.weight: Tensor
        self.register_buffer("weight", torch.empty(1, 1, self.taps, self.taps), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write the kernel into the buffer (again, after a move from the meta device)."""
        # torch's convolutions are correlations: the filter is turned round.
        taps = torch.tensor(self.kernel[::-1], dtype=torch.float64) / sum(self.kernel)
        with torch.no_grad():
            self.weight.copy_(self.gain * torch.outer(taps, taps))

    def filter(self, x: Tensor, stride: int, padding: int) -> Tensor:
        """Filter zero-padded ``x`` and keep every ``stride``-th value."""
        return F.conv2d(x, self._per_channel(x), stride=stride, padding=padding, groups=x.shape[1])

    def _per_channel(self, x: Tensor) -> Tensor:
        return self.weight.to(x.dtype).expand(x.shape[1], 1, self.taps, self.taps)


class FIRDown(FIRFilter):
    """Filter, then keep every second pixel: (B, C, H, W) to (B, C, H / 2, W / 2)."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.filter(x, stride=2, padding=(self.taps - 1) // 2)


class FIRUp(FIRFilter):
    """Put zeros between the pixels, then filter with gain 4: (B, C, H, W) to (B, C, 2 H, 2 W)."""

    def __init__(self, kernel: Sequence[float]) -> None:
        # A zero tap in front of an odd kernel makes the crop of the transposed convolution the same on both sides.
        taps = (0.0, *kernel) if len(kernel) % 2 else tuple(kernel)
        # A transposed convolution turns its kernel round by itself.
        super().__init__(taps[::-1], gain=4.0)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        padding = self.taps // 2 - 1
        return F.conv_transpose2d(x, self._per_channel(x), stride=2, padding=padding, groups=x.shape[1])


class FIRConvDown(nn.Module):
    """Filter, then a 3x3 convolution of stride two."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[float]) -> None:
        super().__init__()
        self.fir = FIRFilter(kernel)
        self.conv = Conv2d(in_channels, out_channels, 3, stride=2, padding=0)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        out: Tensor = self.conv(self.fir.filter(x, stride=1, padding=(self.fir.taps + 1) // 2))
        return out


class FIRConvUp(nn.Module):
    """A 3x3 convolution of the image with zeros between its pixels, then the filter with gain 4."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[float]) -> None:
        super().__init__()
        self.fir = FIRFilter(kernel, gain=4.0)
        self.conv = Conv2d(in_channels, out_channels, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        # As a transposed convolution with the turned kernel, zeros are never multiplied.
        h = F.conv_transpose2d(x, self.conv.weight.transpose(0, 1).flip(-2, -1), stride=2)
        padding = (self.fir.taps - 3) // 2 + 1
        h = self.fir.filter(h, stride=1, padding=padding)[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]
        # The bias comes last: the filter would darken it at the border.
        assert self.conv.bias is not None
        return h + self.conv.bias[:, None, None]


class ConvDown(Conv2d):
    """A 3x3 convolution of stride two that pads one row and column at the lower right only."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class ConvUp(Conv2d):
    """Nearest neighbours, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def plain_down(kernel: Sequence[float] | None) -> nn.Module:
    """Downsampling without weights: FIR with ``kernel``, or the mean of 2x2 pixels where it is None."""
    return nn.AvgPool2d(2) if kernel is None else FIRDown(kernel)


def plain_up(kernel: Sequence[float] | None) -> nn.Module:
    """Upsampling without weights: FIR with ``kernel``, or nearest neighbours where it is None."""
    return nn.Upsample(scale_factor=2.0, mode="nearest") if kernel is None else FIRUp(kernel)


def conv_down(in_channels: int, out_channels: int, kernel: Sequence[float] | None) -> nn.Module:
    """Downsampling with a 3x3 convolution, after FIR filtering unless ``kernel`` is None."""
    return ConvDown(in_channels, out_channels) if kernel is None else FIRConvDown(in_channels, out_channels, kernel)


def conv_up(in_channels: int, out_channels: int, kernel: Sequence[float] | None) -> nn.Module:
    """Upsampling with a 3x3 convolution, followed by FIR filtering unless ``kernel`` is None."""
    return ConvUp(in_channels, out_channels) if kernel is None else FIRConvUp(in_channels, out_channels, kernel)
