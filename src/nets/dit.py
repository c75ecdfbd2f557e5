"""A diffusion transformer (Peebles and Xie 2023): patches as tokens, conditioned by adaptive layer norms (adaLN-Zero).

Every block adds two branches to its tokens h, with shifts, scales and gates that follow from the embedding:

    h <- h + g_1 attention(norm(h) (1 + s_1) + b_1),    h <- h + g_2 mlp(norm(h) (1 + s_2) + b_2).

Gates and output start at zero: an untrained block is the identity.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..image_shape import height_and_width
from .base import ScoreNet
from .layers.basic import Conv2d, Linear, activation, check_depth
from .layers.dropout import check_dropout
from .layers.embedding import NoiseEmbedding, PositionalFeatures

NORM_EPS = 1e-6


class DiTBlock(nn.Module):
    """Attention and a perceptron with GELU over tokens, each modulated and gated by the embedding.

    Args:
        width: channels of a token, a multiple of ``heads``.
        heads: attention heads.
        mlp_ratio: hidden units of the perceptron, as a multiple of ``width``.
        dropout: probability of dropping a hidden unit of the perceptron.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        hidden = round(width * mlp_ratio)
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.dense1 = Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.dense2 = Linear(hidden, width)
        self.modulation = Linear(width, 6 * width, init_scale=0.0)

    def forward(self, h: Float[Tensor, "b n c"], emb: Float[Tensor, "_ c"]) -> Float[Tensor, "b n c"]:
        """Tokens (B, N, C) after the block; ``emb`` is (B, C) or (1, C), already activated."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(emb)[:, None].chunk(6, dim=-1)
        h = h + gate1 * self._attend(_modulated(h, shift1, scale1))
        hidden = F.gelu(self.dense1(_modulated(h, shift2, scale2)), approximate="tanh")
        out: Tensor = h + gate2 * self.dense2(self.dropout(hidden))
        return out

    def _attend(self, h: Tensor) -> Tensor:
        query, key, value = self.qkv(h).reshape(*h.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class DiT(ScoreNet):
    """Diffusion transformer over square patches.

    Args:
        image_size: height and width of the images, one number or [height, width], multiples of ``patch_size``.
        in_channels: channels of the images.
        patch_size: side of a patch.
        width: channels of a token and of the embedding, a multiple of ``heads`` and of 4.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden units of a block's perceptron, as a multiple of ``width``.
        dropout: probability, in the perceptrons.
        embedding_type: fourier (of log c_noise, so c_noise is sigma) or positional (of c_noise itself).
        fourier_scale: standard deviation of the Fourier frequencies.
        fourier_log: set to false for Fourier features of c_noise itself.
        nonlinearity: nonlinearity of the embedding: swish, elu, relu or lrelu.
        num_classes: classes of the label ``cond["labels"]``, whose index ``num_classes`` means "no label".
        augment_dim: length of ``cond["augment"]``.
        settings: those of ``ScoreNet``.

    Raises:
        UserError: sizes that do not divide, an unknown option, or images of another size.
    """

    embedding: NoiseEmbedding

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        in_channels: int = 3,
        patch_size: int = 2,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        embedding_type: str = "fourier",
        fourier_scale: float = 16.0,
        fourier_log: bool = True,
        nonlinearity: str = "swish",
        num_classes: int | None = None,
        augment_dim: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        rows, columns = height_and_width(image_size, "net.image_size")
        if min(patch_size, width, depth, heads) < 1 or rows % patch_size or columns % patch_size:
            raise UserError(
                f"net.patch_size={patch_size} does not divide images of {image_size} pixels: choose a divisor"
            )
        if width % heads or width % 4:
            raise UserError(f"net.width={width} must be a multiple of 4 and of net.heads={heads}")
        self.image_shape = (in_channels, rows, columns)
        self.patch_size = patch_size
        self.num_classes = num_classes
        self.embedding = NoiseEmbedding(
            width // 2,
            width,
            embedding_type,
            activation(nonlinearity),
            fourier_scale=fourier_scale,
            fourier_log=fourier_log,
            num_classes=num_classes,
            augment_dim=augment_dim,
        )
        self.noise_scales = self.embedding.noise_scales
        self.patches = Conv2d(in_channels, width, patch_size, stride=patch_size, padding=0)
        self.positions: Tensor
        self.register_buffer("positions", torch.empty(rows * columns // patch_size**2, width), persistent=False)
        check_depth(depth, "depth")
        check_dropout(dropout)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, mlp_ratio, dropout) for _ in range(depth))
        self.modulation = Linear(width, 2 * width, init_scale=0.0)
        self.output = Linear(width, in_channels * patch_size**2, init_scale=0.0)
        self.reset_parameters()
        self.apply_settings()

    def reset_parameters(self) -> None:
        """Write the fixed positional features into their buffer; call it again after a move from the meta device."""
        down, across = (side // self.patch_size for side in self.image_shape[1:])
        positional = PositionalFeatures(self.positions.shape[1] // 2)
        rows, columns = (positional(torch.arange(n, dtype=torch.float64)) for n in (down, across))
        rows, columns = rows[:, None].expand(-1, across, -1), columns[None].expand(down, -1, -1)
        with torch.no_grad():
            self.positions.copy_(torch.cat([rows, columns], dim=-1).flatten(0, 1))

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b c h w"]:
        if x.shape[1:] != self.image_shape:
            raise UserError(f"the net is built for images {self.image_shape}, got {tuple(x.shape[1:])}")
        emb = self.embedding(c_noise, cond)
        h = self.patches(self.arrange(x)).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = self.run(block, h, emb)
        shift, scale = self.modulation(emb)[:, None].chunk(2, dim=-1)
        return self._image(self.output(_modulated(h, shift, scale)))

    def _image(self, tokens: Float[Tensor, "b n p"]) -> Float[Tensor, "b c h w"]:
        """Assemble tokens (B, N, C P^2) into images (B, C, H, W)."""
        rows, columns = (side // self.patch_size for side in self.image_shape[1:])
        grid = tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        return F.pixel_shuffle(grid, self.patch_size)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift
