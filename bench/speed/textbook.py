"""The operations of NCSN++ as in the original code: same net, same weights, same result as ours.

- FIR resampling: zeros are inserted between the pixels, the image is padded, every channel is filtered as a separate
  image, and every second pixel is kept.
- Attention: two einsums around a softmax over all pairs of pixels; 1x1 layers on the last axis by einsum (NIN).
- A residual sum is divided by sqrt(2) in a separate pass.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.nets.layers.attention import Attention
from src.nets.layers.blocks import ResBlock
from src.nets.layers.pyramid import InputResidual, OutputResidual
from src.nets.layers.resample import FIRConvDown, FIRConvUp, FIRDown, FIRUp


def upfirdn2d(x: Tensor, taps: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Upsample with zeros, pad both axes by ``pad``, filter with the outer product of ``taps``, keep every ``down``-th.

    Args:
        x: (B, C, H, W).
        taps: (K,) of the separable filter, in convolution order.
        up: factor of the zero insertion.
        down: stride of the result.
        pad: zeros before and after each axis; negative numbers crop.
    """
    b, c, h, w = x.shape
    x = F.pad(x.reshape(b * c, 1, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(b * c, 1, h * up, w * up)
    x = F.pad(x, (*pad, *pad))
    x = F.conv2d(x, torch.outer(taps, taps).flip(0, 1)[None, None])[:, :, ::down, ::down]
    return x.reshape(b, c, *x.shape[2:])


class Down(nn.Module):
    """FIR filter, then every second pixel."""

    def __init__(self, layer: FIRDown) -> None:
        super().__init__()
        self.taps = _taps(layer.taps[::-1])

    def forward(self, x: Tensor) -> Tensor:
        surplus = len(self.taps) - 2
        return upfirdn2d(x, self.taps, down=2, pad=((surplus + 1) // 2, surplus // 2))


class Up(nn.Module):
    """Insert zeros between the pixels, then apply the FIR filter."""

    def __init__(self, layer: FIRUp) -> None:
        super().__init__()
        # The layer reverses its taps again, for its transposed convolution.
        self.taps = _taps(layer.taps)

    def forward(self, x: Tensor) -> Tensor:
        surplus = len(self.taps) - 2
        return upfirdn2d(x, self.taps, up=2, pad=((surplus + 1) // 2 + 1, surplus // 2))


class ConvDown(nn.Module):
    """FIR filter, then a 3x3 convolution of stride two."""

    def __init__(self, layer: FIRConvDown) -> None:
        super().__init__()
        self.taps = _taps(layer.fir.taps[::-1])
        self.conv = layer.conv

    def forward(self, x: Tensor) -> Tensor:
        surplus = len(self.taps) - 2 + 2
        return F.conv2d(
            upfirdn2d(x, self.taps, pad=((surplus + 1) // 2, surplus // 2)),
            self.conv.weight,
            self.conv.bias,
            stride=2,
        )


class NIN(nn.Module):
    """A 1x1 convolution as a product over the last axis."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach()[:, :, 0, 0].t().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone()) if layer.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("bhwi,io->bhwo", x.permute(0, 2, 3, 1), self.weight)
        return (y if self.bias is None else y + self.bias).permute(0, 3, 1, 2)


class EinsumAttention(nn.Module):
    """Attention with an explicit weight matrix."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.norm = layer.norm
        self.skip_rescale = layer.skip_rescale
        self.query, self.key, self.value, self.proj = map(NIN, (layer.query, layer.key, layer.value, layer.proj))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        normed = self.norm(x)
        q, k, v = self.query(normed), self.key(normed), self.value(normed)
        weights = torch.einsum("bchw,bcij->bhwij", q, k) * c**-0.5
        weights = F.softmax(weights.reshape(b, h, w, h * w), dim=-1).reshape(b, h, w, h, w)
        return _residual(x, self.proj(torch.einsum("bhwij,bcij->bchw", weights, v)), self.skip_rescale)


class Block(nn.Module):
    """A residual block in which every operation is a separate pass."""

    def __init__(self, layer: ResBlock) -> None:
        super().__init__()
        for name in ("act", "resample", "norm1", "conv1", "emb", "norm2", "conv2", "shortcut"):
            setattr(self, name, getattr(layer, name))
        self.dropout = nn.Dropout(layer.dropout.p)
        self.skip_rescale = layer.skip_rescale

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.act(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv1(h)
        if self.emb is not None and emb is not None:
            h = h + self.emb(emb)[:, :, None, None]
        h = self.conv2(self.dropout(self.act(self.norm2(h))))
        return _residual(x if self.shortcut is None else self.shortcut(x), h, self.skip_rescale)


class PyramidSum(nn.Module):
    """The sum of features and the residual input pyramid."""

    def __init__(self, layer: InputResidual) -> None:
        super().__init__()
        self.down = layer.down
        self.skip_rescale = layer.skip_rescale

    def forward(self, h: Tensor, pyramid: Tensor) -> tuple[Tensor, Tensor]:
        h = _residual(self.down(pyramid), h, self.skip_rescale)
        return h, h


_TEXTBOOK: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    FIRDown: Down,
    FIRUp: Up,
    FIRConvDown: ConvDown,
    Attention: EinsumAttention,
    ResBlock: Block,
    InputResidual: PyramidSum,
}


def textbook(net: nn.Module) -> nn.Module:
    """Return a copy of ``net`` that computes the same with textbook operations.

    Raises:
        NotImplementedError: for a layer that has no textbook form here.
    """
    net = copy.deepcopy(net)
    _replace_layers(net)
    # Also converts the taps.
    return net.to(next(net.parameters()).dtype)


def _replace_layers(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, FIRConvUp | OutputResidual):
            raise NotImplementedError(f"{type(child).__name__} has no textbook form")
        if type(child) in _TEXTBOOK:
            child = _TEXTBOOK[type(child)](child)
            setattr(module, name, child)
        _replace_layers(child)


def _residual(x: Tensor, h: Tensor, rescale: bool) -> Tensor:
    return (x + h) / math.sqrt(2) if rescale else x + h


def _taps(taps: tuple[float, ...]) -> Tensor:
    return nn.Buffer(torch.tensor(taps, dtype=torch.float64), persistent=False)
