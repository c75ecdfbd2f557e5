"""The U-Net of denoising diffusion probabilistic models (Ho et al. 2020, appendix B)."""

from collections.abc import Sequence
from typing import Any

from .ncsnpp import NCSNpp


class DDPM(NCSNpp):
    """NCSN++ without its extensions: DDPM blocks, plain resampling and skips, 32 groups in every GroupNorm.

    c_noise is an index of the chain, or 999 t. The defaults are the CIFAR-10 model.

    Args:
        image_size: height and width of the images, one number or [height, width], divisible by 2^(levels - 1).
        in_channels: channels of the images.
        nf: channels of the first convolution, a multiple of 32.
        ch_mult: channels of each level, as multiples of ``nf``.
        num_res_blocks: residual blocks of a level on the way down (one more on the way up).
        attn_resolutions: image sizes at which attention follows (always in the middle).
        dropout: probability, inside the residual blocks.
        resamp_with_conv: whether the resampling layers have a convolution.
        nonlinearity: swish, elu, relu or lrelu.
        num_classes: classes of the label ``cond["labels"]``, whose index ``num_classes`` means "no label".
        augment_dim: length of ``cond["augment"]``.
        settings: ``compile``, ``channels_last``, ``checkpoint_activations`` of ``ScoreNet``.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        in_channels: int = 3,
        nf: int = 128,
        ch_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.1,
        resamp_with_conv: bool = True,
        nonlinearity: str = "swish",
        num_classes: int | None = None,
        augment_dim: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            image_size=image_size,
            in_channels=in_channels,
            nf=nf,
            ch_mult=ch_mult,
            num_res_blocks=num_res_blocks,
            attn_resolutions=attn_resolutions,
            dropout=dropout,
            resblock_type="ddpm",
            resamp_with_conv=resamp_with_conv,
            fir=False,
            skip_rescale=False,
            progressive_input="none",
            embedding_type="positional",
            nonlinearity=nonlinearity,
            norm_groups=32,
            num_classes=num_classes,
            augment_dim=augment_dim,
            **settings,
        )
