"""Elementary layers with the initialization of Ho et al. 2020, and checks of their settings."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.torch_version import TorchVersion

from ...errors import UserError

RSQRT2 = math.sqrt(0.5)
GROUP_NORM_EPS = 1e-6
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "swish": nn.SiLU,
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(negative_slope=0.2),
}


_MOST_BLOCKS = 2048


def check_depth(blocks: int, names: str) -> None:
    """Raise UserError for a number of blocks that no net has; making them would take hours."""
    if blocks > _MOST_BLOCKS:
        raise UserError(f"{names} make {blocks:,} blocks: give at most {_MOST_BLOCKS:,}")


def choose(option: str, value: str, valid: Sequence[str]) -> str:
    """Return ``value`` in lower case; raise UserError if it is not one of ``valid``."""
    if value.lower() not in valid:
        raise UserError(f"{option}={value!r} is unknown; choose one of {', '.join(valid)}")
    return value.lower()


def activation(name: str) -> nn.Module:
    """Return the nonlinearity swish, elu, relu or lrelu (slope 0.2)."""
    return _ACTIVATIONS[choose("nonlinearity", name, tuple(_ACTIVATIONS))]()


def autocast_device(x: Tensor) -> str:
    """Return the device type of ``x`` for ``torch.autocast``; ``cpu`` for ``meta``, which autocast refuses.

    ``ScoreModel.check_labels`` runs nets on the device ``meta``.
    """
    return "cpu" if x.is_meta else x.device.type


# Its forward-mode derivative, for MeanFlow, fails with channels last (in 2.6 to 2.8; works in 2.14).
_STRIDED_ON_CPU = TorchVersion(torch.__version__) < "2.14"


class GroupNorm(nn.GroupNorm):
    """GroupNorm whose output has the dtype of the convolutions around it: bfloat16 or float16 under autocast.

    torch's autocast runs GroupNorm, and the nonlinearity and dropout after it, in float32: two casts and twice the
    bytes. Here only the sums inside the operation are in float32, and the output is rounded to half precision.
    """

    def forward(self, input: Float[Tensor, "b c *d"]) -> Float[Tensor, "b c *d"]:
        device = autocast_device(input)
        if torch.is_autocast_enabled(device) and input.dtype != torch.float64:
            input = input.to(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            # torch's kernel for GPUs makes a contiguous copy of an image with channels last (pytorch#111824).
            if (device != "cpu" or _STRIDED_ON_CPU) and input.ndim == 4 and input.stride(1) == 1:
                return group_norm_strided(input, self.num_groups, weight, bias, self.eps)
            return F.group_norm(input, self.num_groups, weight, bias, self.eps)


def group_norm_strided(
    x: Float[Tensor, "b c h w"], groups: int, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float
) -> Float[Tensor, "b c h w"]:
    """``F.group_norm`` in the memory format of ``x``, in float32 or better; the output has the dtype of ``x``."""
    accurate = torch.promote_types(x.dtype, torch.float32)
    grouped = x.reshape(len(x), groups, -1, *x.shape[2:]).to(accurate)
    var, mean = torch.var_mean(grouped, (2, 3, 4), correction=0, keepdim=True)
    weight, bias = (parameter.to(accurate).view(groups, -1, 1, 1) for parameter in (weight, bias))
    scale = weight * torch.rsqrt(var + eps)
    return torch.addcmul(bias - scale * mean, grouped, scale).to(x.dtype).flatten(1, 2)


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    """GroupNorm with ``groups`` groups, min(channels // 4, 32) by default; UserError if they do not divide."""
    groups = min(channels // 4, 32) if groups is None else groups
    if groups < 1 or channels % groups:
        raise UserError(
            f"GroupNorm cannot divide {channels} channels into {groups} groups; change nf or ch_mult "
            "(multiples of 32 always work)"
        )
    return GroupNorm(groups, channels, eps=GROUP_NORM_EPS)


def init_uniform_(weight: Tensor, scale: float) -> None:
    """Variance scaling over the mean of fan-in and fan-out, uniform, variance ``scale`` / fan; 0 stands for 1e-10."""
    nn.init.xavier_uniform_(weight, gain=math.sqrt(scale if scale > 0 else 1e-10))


class Conv2d(nn.Conv2d):
    """Convolution with an odd ``kernel``, same padding by default, zero bias and weights of ``init_scale``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        init_scale: float = 1.0,
    ) -> None:
        self.init_scale = init_scale
        super().__init__(in_channels, out_channels, kernel, stride, kernel // 2 if padding is None else padding)

    def reset_parameters(self) -> None:
        """Draw fresh weights."""
        init_uniform_(self.weight, self.init_scale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Linear(nn.Linear):
    """Dense layer with zero bias and weights of ``init_scale``."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, init_scale: float = 1.0) -> None:
        self.init_scale = init_scale
        super().__init__(in_features, out_features, bias)

    def reset_parameters(self) -> None:
        """Draw fresh weights."""
        init_uniform_(self.weight, self.init_scale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def add_residual(x: Tensor, h: Tensor, rescale: bool) -> Tensor:
    """x + h; with ``rescale`` divided by sqrt(2), which preserves the variance of two independent terms."""
    return (x + h).mul_(RSQRT2) if rescale else x + h
