"""A small convolutional classifier of noisy images, for classifier guidance (Song et al. 2021, appendix I.1)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .layers.basic import Conv2d, Linear, activation, group_norm
from .layers.embedding import NoiseEmbedding


class ClassifierBlock(nn.Module):
    """h + conv(act(norm(conv(act(norm(h))) (1 + scale) + shift))), with scale and shift from the noise level."""

    def __init__(self, in_channels: int, out_channels: int, emb_width: int, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.norm1 = group_norm(in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, 3)
        self.emb = Linear(emb_width, 2 * out_channels)
        self.norm2 = group_norm(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, init_scale=0.0)
        self.skip = nn.Identity() if in_channels == out_channels else Conv2d(in_channels, out_channels, 1)

    def forward(self, h: Float[Tensor, "b c h w"], emb: Float[Tensor, "_ e"]) -> Float[Tensor, "b k h w"]:
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm2(self.conv1(self.act(self.norm1(h)))) * (1 + scale) + shift
        out: Tensor = self.skip(h) + self.conv2(self.act(inner))
        return out


class ConvClassifier(nn.Module):
    """Residual blocks with 2 x 2 average pooling between them, global average pooling and a linear layer.

    Args:
        in_channels: channels of the images.
        num_classes: K.
        nf: channels of the first resolution, a multiple of 4.
        ch_mult: channels of each resolution, in units of ``nf``.
        num_blocks: blocks per resolution.
        nonlinearity: swish, elu, relu or lrelu.

    Raises:
        UserError: an option out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        nf: int = 32,
        ch_mult: Sequence[int] = (1, 2),
        num_blocks: int = 1,
        nonlinearity: str = "swish",
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise UserError(f"a classifier needs at least 2 classes, got num_classes={num_classes}")
        self.num_classes = num_classes
        act = activation(nonlinearity)
        width = 4 * nf
        self.act = act
        # Frequencies of order one: c_noise = ln(sigma / alpha) / 4 varies by about two over a process.
        self.embedding = NoiseEmbedding(nf, width, "fourier", act, fourier_scale=1.0, fourier_log=False)
        self.input = Conv2d(in_channels, nf * ch_mult[0], 3)
        self.levels = nn.ModuleList()
        channels = nf * ch_mult[0]
        for mult in ch_mult:
            level = nn.ModuleList()
            for _ in range(num_blocks):
                level.append(ClassifierBlock(channels, nf * mult, width, act))
                channels = nf * mult
            self.levels.append(level)
        self.norm = group_norm(channels)
        self.output = Linear(channels, num_classes)

    def forward(self, x: Float[Tensor, "b c h w"], c_noise: Tensor) -> Float[Tensor, "b k"]:
        """Compute the logits (B, K).

        Args:
            x: (B, C, H, W), scaled to about unit variance.
            c_noise: (), (1,) or (B,), a quarter of ln(sigma / alpha).
        """
        emb = self.embedding(c_noise)
        h = self.input(x)
        for i, level in enumerate(self.levels):
            h = F.avg_pool2d(h, 2) if i > 0 else h
            for block in level:  # type: ignore[attr-defined] # a list, to torch any module
                h = block(h, emb)
        logits: Tensor = self.output(torch.mean(self.act(self.norm(h)), dim=(2, 3)))
        return logits
