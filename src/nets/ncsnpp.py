"""NCSN++ and DDPM++ (Song et al. 2021, "Score-based generative modeling through SDEs", appendix H).

A U-Net of residual blocks conditioned on the noise level. The variants of appendix H are options: BigGAN or DDPM
blocks, FIR resampling, rescaled skip connections, and progressive growing of the input and of the output.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..image_shape import height_and_width
from .base import ScoreNet
from .layers.attention import Attention
from .layers.basic import Conv2d, activation, check_depth, choose
from .layers.blocks import RESBLOCKS, Head, ResBlock
from .layers.embedding import EMBEDDINGS, NoiseEmbedding
from .layers.level import Level
from .layers.pyramid import (
    COMBINE,
    PROGRESSIVE,
    PROGRESSIVE_INPUT,
    InputResidual,
    InputSkip,
    OutputResidual,
    OutputResidualStart,
    OutputSkip,
)
from .layers.resample import conv_down, conv_up, plain_down, plain_up


class NCSNpp(ScoreNet):
    """The U-Net of NCSN++; the defaults are the continuous VE model of CIFAR-10.

    Args:
        image_size: height and width of the images, one number for squares or [height, width], divisible by
            2^(levels - 1).
        in_channels: channels of the images.
        nf: channels of the first convolution; the embedding is 4 nf wide.
        ch_mult: channels of each level, as multiples of ``nf``.
        num_res_blocks: residual blocks of a level on the way down (one more on the way up).
        attn_resolutions: image sizes at which attention follows (always in the middle), by the longer side.
        dropout: probability, inside the residual blocks.
        resblock_type: biggan (resampling inside a residual block) or ddpm (as a layer of its own).
        resamp_with_conv: whether the resampling layers of ddpm blocks have a convolution.
        fir: resample with an FIR filter rather than by averages and nearest neighbors.
        fir_kernel: taps of the separable filter.
        skip_rescale: divide every residual sum by sqrt(2).
        progressive: growing of the output: none, output_skip or residual.
        progressive_input: growing of the input: none, input_skip or residual.
        progressive_combine: how input_skip is combined with the features: sum or cat.
        embedding_type: fourier (of log c_noise, so c_noise is sigma) or positional (of c_noise itself).
        fourier_scale: standard deviation of the Fourier frequencies.
        fourier_log: set to false for Fourier features of c_noise itself.
        conditional: False for a net that does not see the noise level.
        nonlinearity: swish, elu, relu or lrelu.
        init_scale: scale of the initial weights of the last layer of every residual branch; 0 stands for 1e-10.
        norm_groups: groups of every GroupNorm; None for min(channels // 4, 32).
        num_classes: classes of the label ``cond["labels"]``, whose index ``num_classes`` means "no label".
        augment_dim: length of ``cond["augment"]``.
        settings: ``compile``, ``channels_last``, ``checkpoint_activations`` of ``ScoreNet``.

    Raises:
        UserError: arguments do not fit together.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        in_channels: int = 3,
        nf: int = 128,
        ch_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.1,
        resblock_type: str = "biggan",
        resamp_with_conv: bool = True,
        fir: bool = True,
        fir_kernel: Sequence[float] = (1.0, 3.0, 3.0, 1.0),
        skip_rescale: bool = True,
        progressive: str = "none",
        progressive_input: str = "residual",
        progressive_combine: str = "sum",
        embedding_type: str = "fourier",
        fourier_scale: float = 16.0,
        fourier_log: bool = True,
        conditional: bool = True,
        nonlinearity: str = "swish",
        init_scale: float = 0.0,
        norm_groups: int | None = None,
        num_classes: int | None = None,
        augment_dim: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.resblock_type = choose("resblock_type", resblock_type, RESBLOCKS)
        self.progressive = choose("progressive", progressive, PROGRESSIVE)
        self.progressive_input = choose("progressive_input", progressive_input, PROGRESSIVE_INPUT)
        self.progressive_combine = choose("progressive_combine", progressive_combine, COMBINE)
        self.embedding_type = choose("embedding_type", embedding_type, EMBEDDINGS)
        height, width = height_and_width(image_size, "net.image_size")
        if min(nf, num_res_blocks, *ch_mult) < 1 or not ch_mult:
            raise UserError(
                f"nf={nf} ch_mult={list(ch_mult)} num_res_blocks={num_res_blocks}: every level needs channels and "
                "blocks, give positive numbers"
            )
        check_depth(len(ch_mult) * (num_res_blocks + 1), "ch_mult and num_res_blocks")
        resolutions = _resolutions(height, width, len(ch_mult), attn_resolutions)
        if self.progressive == "residual" and len(ch_mult) == 1:
            raise UserError("progressive=residual needs at least two levels; extend ch_mult or set progressive=none")
        if not conditional and (num_classes is not None or augment_dim is not None):
            raise UserError("num_classes and augment_dim need conditional=true: labels enter with the noise embedding")
        self.image_shape = (in_channels, height, width)
        self.nf = nf
        if in_channels < 1:
            raise UserError(f"net.in_channels={in_channels}: give at least 1")
        if augment_dim is not None and augment_dim < 1:
            raise UserError(f"net.augment_dim={augment_dim}: give at least 1, or null")
        self.num_classes = num_classes
        self.attn_resolutions = tuple(attn_resolutions)
        self.act = act = activation(nonlinearity)
        kernel = fir_kernel if fir else None

        if conditional:
            self.embedding = NoiseEmbedding(
                nf,
                4 * nf,
                self.embedding_type,
                act,
                fourier_scale=fourier_scale,
                fourier_log=fourier_log,
                num_classes=num_classes,
                augment_dim=augment_dim,
            )
            self.noise_scales = self.embedding.noise_scales

        biggan = self.resblock_type == "biggan"
        common: dict[str, Any] = {"init_scale": init_scale, "skip_rescale": skip_rescale, "norm_groups": norm_groups}
        block: Callable[..., ResBlock] = partial(
            ResBlock,
            act=act,
            emb_width=4 * nf if conditional else None,
            dropout=dropout,
            shortcut_scale=1.0 if biggan else 0.1,
            # Whole blocks are recomputed, or parts of them.
            recompute=not self.checkpoint_activations,
            **common,
        )

        def attention(channels: int, resolution: int) -> Attention | None:
            return Attention(channels, **common) if resolution in self.attn_resolutions else None

        def shrink(channels: int) -> nn.Module:
            if biggan:
                return block(channels, channels, resample=plain_down(kernel))
            return conv_down(channels, channels, kernel) if resamp_with_conv else plain_down(kernel)

        def grow(channels: int) -> nn.Module:
            if biggan:
                return block(channels, channels, resample=plain_up(kernel))
            return conv_up(channels, channels, kernel) if resamp_with_conv else plain_up(kernel)

        self.input_conv = Conv2d(in_channels, nf, 3)
        channels, skips, pyramid_channels = nf, [nf], in_channels
        down: list[Level] = []
        for multiple, resolution in zip(ch_mult, resolutions, strict=True):
            blocks: list[ResBlock] = []
            attentions: list[Attention | None] = []
            for _ in range(num_res_blocks):
                blocks.append(block(channels, nf * multiple))
                channels = nf * multiple
                attentions.append(attention(channels, resolution))
                skips.append(channels)
            resample: nn.Module | None = None
            pyramid: nn.Module | None = None
            if resolution != resolutions[-1]:
                resample = shrink(channels)
                if self.progressive_input == "input_skip":
                    pyramid = InputSkip(in_channels, channels, self.progressive_combine, kernel)
                    channels *= 2 if self.progressive_combine == "cat" else 1
                elif self.progressive_input == "residual":
                    pyramid = InputResidual(pyramid_channels, channels, skip_rescale, kernel)
                    pyramid_channels = channels
                skips.append(channels)
            down.append(Level(blocks, attentions, pyramid, resample))
        self.down: Iterable[Level] = nn.ModuleList(down)  # type: ignore[assignment] # torch has no typed ModuleList

        middle = block(channels, channels), Attention(channels, **common), block(channels, channels)
        self.middle: tuple[ResBlock, Attention, ResBlock] = nn.ModuleList(middle)  # type: ignore[assignment] # the same

        up: list[Level] = []
        for multiple, resolution in zip(reversed(ch_mult), reversed(resolutions), strict=True):
            blocks = []
            for _ in range(num_res_blocks + 1):
                blocks.append(block(channels + skips.pop(), nf * multiple))
                channels = nf * multiple
            attentions = [*[None] * num_res_blocks, attention(channels, resolution)]
            first = resolution == resolutions[-1]
            pyramid = None
            if self.progressive == "output_skip":
                head = Head(channels, in_channels, act, init_scale=init_scale, norm_groups=norm_groups)
                pyramid = OutputSkip(head, None if first else plain_up(kernel))
            elif self.progressive == "residual" and first:
                pyramid = OutputResidualStart(Head(channels, channels, act, init_scale=1.0, norm_groups=norm_groups))
            elif self.progressive == "residual":
                pyramid = OutputResidual(pyramid_channels, channels, skip_rescale, kernel)
            pyramid_channels = channels
            up.append(Level(blocks, attentions, pyramid, grow(channels) if resolution != resolutions[0] else None))
        self.up: Iterable[Level] = nn.ModuleList(up)  # type: ignore[assignment] # the same

        self.output = None
        if self.progressive != "output_skip":
            self.output = Head(channels, in_channels, act, init_scale=init_scale, norm_groups=norm_groups)
        self.apply_settings()

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b c h w"]:
        if x.shape[1:] != self.image_shape:
            raise UserError(f"the net is built for images of shape {self.image_shape}, got {tuple(x.shape[1:])}")
        emb = None if self.embedding is None else self.embedding(c_noise, cond)
        # Only where resampling happens inside a residual block does it depend on the noise level.
        resample_args = (emb,) if self.resblock_type == "biggan" else ()
        pyramid = x = self.arrange(x)
        h = self.input_conv(x)
        skips = [h]
        for level in self.down:
            for block, attention in level.steps():
                h = self._step(block, attention, h, emb)
                skips.append(h)
            if level.resample is not None:
                h = self.run(level.resample, h, *resample_args)
                if level.pyramid is not None:
                    h, pyramid = level.pyramid(h, pyramid)
                skips.append(h)

        block1, attention, block2 = self.middle
        h = self.run(block2, self._step(block1, attention, h, emb), emb)

        image: Tensor | None = None
        for level in self.up:
            for block, attention in level.steps():
                h = self._step(block, attention, torch.cat([h, skips.pop()], dim=1), emb)
            if level.pyramid is not None:
                h, image = level.pyramid(h, image)
            if level.resample is not None:
                h = self.run(level.resample, h, *resample_args)

        out: Tensor | None = image if self.output is None else self.output(h)
        assert out is not None
        return out

    def _step(self, block: nn.Module, attention: nn.Module | None, h: Tensor, emb: Tensor | None) -> Tensor:
        h = self.run(block, h, emb)
        return h if attention is None else self.run(attention, h)


def _resolutions(height: int, width: int, levels: int, attn_resolutions: Sequence[int]) -> list[int]:
    """The longer side of the images at every level."""
    factor = 2 ** max(levels - 1, 0)
    if levels < 1 or height % factor or width % factor:
        size = height if height == width else f"[{height}, {width}]"
        raise UserError(
            f"image_size={size} must be divisible by 2^(levels - 1) = {factor} for the {levels} levels of ch_mult"
        )
    resolutions = [max(height, width) // 2**level for level in range(levels)]
    for resolution in attn_resolutions:
        if resolution not in resolutions:
            raise UserError(
                f"attn_resolutions={list(attn_resolutions)}: no level is {resolution} pixels wide; "
                f"the levels are {resolutions}"
            )
    return resolutions
