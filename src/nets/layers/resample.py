"""Resampling by two: FIR filters (Karras et al. 2019, Zhang 2019), averages and nearest neighbors, convolutions.

With k the outer product of the normalized kernel with itself and P = len(kernel) - 2,

    down: y[n] = sum_j k[j] x[2 n + floor(P / 2) + 1 - j],
    up:   y[n] = 4 sum_j k[j] x0[n + floor(P / 2) - j],   x0 = x with zeros between the samples,

with zeros outside of the image. If a 3x3 convolution is combined with it, the image is padded once for both:
the convolution sees filtered values beyond the border (the fused operators of StyleGAN2).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError
from .basic import Conv2d, autocast_device


class FIRFilter(nn.Module):
    """Depthwise filtering with a separable kernel whose taps are normalized to a sum of one.

    On a CPU the filter is a grouped convolution. On a GPU, where grouped convolutions are slow and are not fused, the
    filter is a weighted sum of shifted slices in each direction, which the compiler fuses.

    Args:
        kernel: taps, at least two.
        gain: factor on the output, of both directions together.

    Raises:
        UserError: fewer than two taps, or taps with a sum of zero.
    """

    def __init__(self, kernel: Sequence[float], gain: float = 1.0) -> None:
        super().__init__()
        if len(kernel) < 2 or sum(kernel) == 0:
            raise UserError(f"fir_kernel={list(kernel)} must have at least two taps and a sum other than zero")
        # torch's convolutions are correlations: the filter is reversed.
        self.taps = tuple(math.sqrt(gain) * float(tap) / sum(kernel) for tap in reversed(kernel))

    def filter(self, x: Float[Tensor, "b c h w"], stride: int, padding: int) -> Float[Tensor, "b c h2 w2"]:
        """Filter zero-padded ``x`` and keep every ``stride``-th value."""
        if x.device.type == "cpu":
            return F.conv2d(x, self._weight(x), stride=stride, padding=padding, groups=x.shape[1])
        return filter_by_slices(x, self.taps, stride, padding)

    def _weight(self, x: Tensor) -> Tensor:
        taps = torch.tensor(self.taps, dtype=torch.float64, device=x.device)
        return torch.outer(taps, taps).to(x.dtype).expand(x.shape[1], 1, -1, -1)


class FIRDown(FIRFilter):
    """Filter, then keep every second pixel: (B, C, H, W) to (B, C, H / 2, W / 2)."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.filter(x, stride=2, padding=(len(self.taps) - 1) // 2)


class FIRUp(FIRFilter):
    """Put zeros between the pixels, then filter with gain 4: (B, C, H, W) to (B, C, 2 H, 2 W)."""

    def __init__(self, kernel: Sequence[float]) -> None:
        # A leading zero tap makes the crop of the transposed convolution symmetric if the kernel length is odd.
        taps = (0.0, *kernel) if len(kernel) % 2 else tuple(kernel)
        # A transposed convolution already reverses its kernel.
        super().__init__(taps[::-1], gain=4.0)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        if x.device.type == "cpu":
            padding = len(self.taps) // 2 - 1
            return F.conv_transpose2d(x, self._weight(x), stride=2, padding=padding, groups=x.shape[1])
        return double_by_slices(x, self.taps)


def filter_by_slices(
    x: Float[Tensor, "b c h w"], taps: Sequence[float], stride: int, padding: int
) -> Float[Tensor, "b c h2 w2"]:
    """The correlation of ``x`` with ``taps`` along height and width, as sums of slices.

    Args:
        x: (B, C, H, W).
        taps: of one direction.
        stride: keep every ``stride``-th value.
        padding: zeros on every side.
    """
    x = F.pad(x, (padding,) * 4)
    for dim in (2, 3):
        span = x.shape[dim] - len(taps) + 1
        x = _weighted_sum(taps, [x.narrow(dim, i, span) for i in range(len(taps))], dim, stride)
    return x


def double_by_slices(x: Float[Tensor, "b c h w"], taps: Sequence[float]) -> Float[Tensor, "b c h2 w2"]:
    """The transposed correlation of ``x`` with ``taps`` (an even number), stride two, cropped to twice the size.

    Even and odd outputs see every second tap each (polyphase form): y[2 m + r] = sum_j taps[j] x[m + (r + h - j) / 2]
    over the j with the parity of r + h, h = len(taps) / 2 - 1.
    """
    half = len(taps) // 2
    # Reach of an output to either side.
    reach = half // 2
    for dim in (2, 3):
        count = x.shape[dim]
        padded = F.pad(x, (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0))
        phases = []
        for r in (0, 1):
            chosen = range((r + half - 1) % 2, len(taps), 2)
            views = [padded.narrow(dim, reach + (r + half - 1 - j) // 2, count) for j in chosen]
            phases.append(_weighted_sum([taps[j] for j in chosen], views, dim))
        x = _interleave(phases[0], phases[1], dim)
    return x


def _weighted_sum(weights: Sequence[float], terms: Sequence[Tensor], dim: int, stride: int = 1) -> Tensor:
    """The sum of ``weights[i] terms[i]``, at every ``stride``-th index along ``dim``."""
    every = (slice(None),) * dim + (slice(None, None, stride),)
    total = weights[0] * terms[0][every]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        total = torch.add(total, term[every], alpha=weight)
    return total


def _interleave(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """Interleave two images (B, C, H, W) along ``dim``, 2 or 3, in their memory format."""
    if even.stride(1) == 1:
        pixels = torch.stack((even.permute(0, 2, 3, 1), odd.permute(0, 2, 3, 1)), dim)
        return pixels.flatten(dim - 1, dim).permute(0, 3, 1, 2)
    return torch.stack((even, odd), dim + 1).flatten(dim, dim + 1)


class FIRConvDown(nn.Module):
    """Filter, then a 3x3 convolution of stride two."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[float]) -> None:
        super().__init__()
        self.fir = FIRFilter(kernel)
        self.conv = Conv2d(in_channels, out_channels, 3, stride=2, padding=0)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        out: Tensor = self.conv(self.fir.filter(x, stride=1, padding=(len(self.fir.taps) + 1) // 2))
        return out


class FIRConvUp(nn.Module):
    """A 3x3 convolution of the image with zeros between its pixels, then the filter with gain 4."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[float]) -> None:
        super().__init__()
        self.fir = FIRFilter(kernel, gain=4.0)
        self.conv = Conv2d(in_channels, out_channels, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        # A transposed convolution with the reversed kernel never multiplies zeros.
        h = F.conv_transpose2d(x, self.conv.weight.transpose(0, 1).flip(-2, -1), stride=2)
        padding = (len(self.fir.taps) - 3) // 2 + 1
        h = self.fir.filter(h, stride=1, padding=padding)[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]
        # The bias is added last: the filter would reduce it at the border.
        assert self.conv.bias is not None
        return h + self.conv.bias.to(h.dtype)[:, None, None]


class ConvDown(Conv2d):
    """A 3x3 convolution of stride two that pads one row and column at the lower right only."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class ConvUp(Conv2d):
    """Nearest neighbors, then a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_nearest(x))


class NearestUp(nn.Module):
    """Repeat every pixel: (B, C, H, W) to (B, C, 2 H, 2 W)."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return _nearest(x)


def _nearest(x: Tensor) -> Tensor:
    # Pixels are only copied; autocast would convert them to float32.
    with torch.autocast(autocast_device(x), enabled=False):
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


def plain_down(kernel: Sequence[float] | None) -> nn.Module:
    """Downsampling without weights: FIR with ``kernel``, or the mean of 2x2 pixels where it is None."""
    return nn.AvgPool2d(2) if kernel is None else FIRDown(kernel)


def plain_up(kernel: Sequence[float] | None) -> nn.Module:
    """Upsampling without weights: FIR with ``kernel``, or nearest neighbors where it is None."""
    return NearestUp() if kernel is None else FIRUp(kernel)


def conv_down(in_channels: int, out_channels: int, kernel: Sequence[float] | None) -> nn.Module:
    """Downsampling with a 3x3 convolution, after FIR filtering unless ``kernel`` is None."""
    return ConvDown(in_channels, out_channels) if kernel is None else FIRConvDown(in_channels, out_channels, kernel)


def conv_up(in_channels: int, out_channels: int, kernel: Sequence[float] | None) -> nn.Module:
    """Upsampling with a 3x3 convolution, followed by FIR filtering unless ``kernel`` is None."""
    return ConvUp(in_channels, out_channels) if kernel is None else FIRConvUp(in_channels, out_channels, kernel)
