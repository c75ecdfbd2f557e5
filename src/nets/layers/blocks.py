"""The residual block of DDPM (Ho et al. 2020) and of BigGAN (Brock et al. 2019), as used by NCSN++."""

from jaxtyping import Float
from torch import Tensor, nn

from .basic import Conv2d, Linear, add_residual, group_norm
from .dropout import Dropout
from .recompute import norm_act_conv

RESBLOCKS = ("ddpm", "biggan")


class ResBlock(nn.Module):
    """norm, act, [resample], 3x3 conv, + embedding, norm, act, dropout, 3x3 conv; then the sum with the shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        act: nonlinearity.
        emb_width: width E of the noise embedding; None for a block without one.
        dropout: probability of dropping an activation.
        init_scale: scale of the initial weights of the last convolution.
        skip_rescale: divide the sum by sqrt(2).
        norm_groups: groups of the GroupNorms; None for min(channels // 4, 32).
        shortcut_scale: scale of the initial weights of the 1x1 convolution on the shortcut.
        resample: up- or downsampling of both branches without weights (BigGAN).
        recompute: recompute cheap activations in the backward pass (see ``recompute``).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        act: nn.Module,
        *,
        emb_width: int | None,
        dropout: float = 0.0,
        init_scale: float = 0.0,
        skip_rescale: bool = False,
        norm_groups: int | None = None,
        shortcut_scale: float = 1.0,
        resample: nn.Module | None = None,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        self.act = act
        self.skip_rescale = skip_rescale
        self.resample = resample
        self.recompute = recompute
        self.norm1 = group_norm(in_channels, norm_groups)
        self.conv1 = Conv2d(in_channels, out_channels, 3)
        self.emb = None if emb_width is None else Linear(emb_width, out_channels)
        self.norm2 = group_norm(out_channels, norm_groups)
        self.dropout = Dropout(dropout)
        self.conv2 = Conv2d(out_channels, out_channels, 3, init_scale=init_scale)
        same = in_channels == out_channels and resample is None
        self.shortcut = None if same else Conv2d(in_channels, out_channels, 1, init_scale=shortcut_scale)

    def forward(self, x: Float[Tensor, "b c h w"], emb: Tensor | None = None) -> Float[Tensor, "b c2 h2 w2"]:
        """Apply the block to ``x``.

        Args:
            x: (B, C, H, W).
            emb: (B, E) or (1, E), already activated; None for a block without embedding.
        """
        if self.resample is None:
            h = norm_act_conv(x, self.norm1, self.act, self.conv1, recompute=self.recompute)
        else:
            h, x = self.resample(self.act(self.norm1(x))), self.resample(x)
            h = self.conv1(h)
        if self.emb is not None and emb is not None:
            h = h + self.emb(emb)[:, :, None, None]
        h = norm_act_conv(h, self.norm2, self.act, self.conv2, self.dropout, recompute=self.recompute)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return add_residual(x, h, self.skip_rescale)


class Head(nn.Module):
    """norm, act, 3x3 conv: from a feature map to an image or a pyramid.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        act: nonlinearity.
        init_scale: scale of the initial weights.
        norm_groups: groups of the GroupNorm; None for min(in_channels // 4, 32).
    """

    def __init__(
        self, in_channels: int, out_channels: int, act: nn.Module, *, init_scale: float, norm_groups: int | None
    ) -> None:
        super().__init__()
        self.act = act
        self.norm = group_norm(in_channels, norm_groups)
        self.conv = Conv2d(in_channels, out_channels, 3, init_scale=init_scale)

    def forward(self, h: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        out: Tensor = self.conv(self.act(self.norm(h)))
        return out
