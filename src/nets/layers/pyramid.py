"""Progressive growing of input and output (Karras et al. 2020, figure 7), the multi-scale paths of NCSN++.

Each module takes the feature map h and the running pyramid of its path and returns both.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .basic import Conv2d, add_residual
from .blocks import Head
from .resample import conv_down, conv_up, plain_down

PROGRESSIVE_INPUT = ("none", "input_skip", "residual")
PROGRESSIVE = ("none", "output_skip", "residual")
COMBINE = ("sum", "cat")

Image = Float[Tensor, "b _ _ _"]


class InputSkip(nn.Module):
    """The downsampled input image, through a 1x1 convolution, is added to h or concatenated in front of it."""

    def __init__(self, image_channels: int, channels: int, combine: str, kernel: Sequence[float] | None) -> None:
        super().__init__()
        self.combine = combine
        self.down = plain_down(kernel)
        self.conv = Conv2d(image_channels, channels, 1)

    def forward(self, h: Image, pyramid: Image) -> tuple[Image, Image]:
        pyramid = self.down(pyramid)
        image = self.conv(pyramid)
        return (torch.cat([image, h], dim=1) if self.combine == "cat" else image + h), pyramid


class InputResidual(nn.Module):
    """The pyramid, downsampled by a convolution, is added to h; the sum is both the new pyramid and the new h."""

    def __init__(
        self, pyramid_channels: int, channels: int, skip_rescale: bool, kernel: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.skip_rescale = skip_rescale
        self.down = conv_down(pyramid_channels, channels, kernel)

    def forward(self, h: Image, pyramid: Image) -> tuple[Image, Image]:
        h = add_residual(self.down(pyramid), h, self.skip_rescale)
        return h, h


class OutputSkip(nn.Module):
    """Every level predicts an image of its size; the upsampled sum of the coarser ones is the pyramid."""

    def __init__(self, head: Head, up: nn.Module | None) -> None:
        super().__init__()
        self.up = up
        self.head = head

    def forward(self, h: Image, pyramid: Image | None) -> tuple[Image, Image]:
        image = self.head(h)
        return h, image if self.up is None or pyramid is None else self.up(pyramid) + image


class OutputResidualStart(nn.Module):
    """The coarsest level: a convolution of h starts the pyramid."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, h: Image, pyramid: Image | None) -> tuple[Image, Image]:
        return h, self.head(h)


class OutputResidual(nn.Module):
    """The pyramid, upsampled by a convolution, is added to h; the sum is both the new pyramid and the new h."""

    def __init__(
        self, pyramid_channels: int, channels: int, skip_rescale: bool, kernel: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.skip_rescale = skip_rescale
        self.up = conv_up(pyramid_channels, channels, kernel)

    def forward(self, h: Image, pyramid: Image) -> tuple[Image, Image]:
        h = add_residual(self.up(pyramid), h, self.skip_rescale)
        return h, h
