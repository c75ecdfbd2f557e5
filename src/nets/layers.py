"""Elementary layers with the initialisation of Ho et al. 2020, and the checks that name what is wrong."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..errors import UserError
from .winograd import suits, winograd_conv2d

RSQRT2 = math.sqrt(0.5)
GROUP_NORM_EPS = 1e-6
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "swish": nn.SiLU,
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(negative_slope=0.2),
}


def choose(option: str, value: str, valid: Sequence[str]) -> str:
    """``value`` in lower case if it is one of ``valid``; UserError that lists them otherwise."""
    if value.lower() not in valid:
        raise UserError(f"{option}={value!r} is unknown; choose one of {', '.join(valid)}")
    return value.lower()


def activation(name: str) -> nn.Module:
    """The nonlinearity called swish, elu, relu or lrelu (slope 0.2)."""
    return _ACTIVATIONS[choose("nonlinearity", name, tuple(_ACTIVATIONS))]()


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    """GroupNorm with ``groups`` groups, min(channels // 4, 32) by default; UserError where they do not divide."""
    groups = min(channels // 4, 32) if groups is None else groups
    if groups < 1 or channels % groups:
        raise UserError(
            f"GroupNorm cannot divide {channels} channels into {groups} groups; change nf or ch_mult "
            "(multiples of 32 always work)"
        )
    return nn.GroupNorm(groups, channels, eps=GROUP_NORM_EPS)


def init_uniform_(weight: Tensor, scale: float) -> None:
    """Variance scaling over the mean of fan-in and fan-out, uniform, variance ``scale`` / fan; 0 stands for 1e-10."""
    nn.init.xavier_uniform_(weight, gain=math.sqrt(scale if scale > 0 else 1e-10))


class Conv2d(nn.Conv2d):
    """Convolution of odd ``kernel``, same padding unless told otherwise, zero bias, weights of ``init_scale``.

    ``winograd`` allows Winograd's algorithm, where it applies and is faster.
    """

    winograd = False

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

    def forward(self, input: Tensor) -> Tensor:
        if self.winograd and self._is_plain_3x3 and suits(input, self.weight):
            return winograd_conv2d(input, self.weight, self.bias)
        return super().forward(input)

    @property
    def _is_plain_3x3(self) -> bool:
        return self.kernel_size == (3, 3) and self.stride == (1, 1) and self.padding == (1, 1)


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
    """x + h, divided by sqrt(2) if ``rescale``, which keeps the variance of two independent terms."""
    return (x + h).mul_(RSQRT2) if rescale else x + h
