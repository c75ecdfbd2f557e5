"""Self-attention over the pixels of a feature map."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .basic import Conv2d, add_residual, group_norm


class Attention(nn.Module):
    """Residual single-head attention, x + proj(softmax(q k^T / sqrt(C)) v) with q, k, v of the normalized x.

    Args:
        channels: number C of channels.
        init_scale: scale of the initial weights of the last layer.
        skip_rescale: divide the sum by sqrt(2).
        norm_groups: groups of the GroupNorm; None for min(C // 4, 32).
    """

    def __init__(
        self, channels: int, *, init_scale: float = 0.0, skip_rescale: bool = False, norm_groups: int | None = None
    ) -> None:
        super().__init__()
        self.skip_rescale = skip_rescale
        self.norm = group_norm(channels, norm_groups)
        self.query, self.key, self.value = (Conv2d(channels, channels, 1, init_scale=0.1) for _ in range(3))
        self.proj = Conv2d(channels, channels, 1, init_scale=init_scale)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        normed = self.norm(x)
        query, key, value = (_tokens(layer(normed)) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return add_residual(x, self.proj(mixed.squeeze(1).transpose(1, 2).reshape(x.shape)), self.skip_rescale)


def _tokens(x: Tensor) -> Tensor:
    """Reshape (B, C, H, W) to one head (B, 1, H W, C); the fused kernels need a contiguous last dimension."""
    return x.flatten(2).transpose(1, 2).contiguous().unsqueeze(1)
