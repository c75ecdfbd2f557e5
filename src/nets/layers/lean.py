"""norm, act, dropout, convolution: without keeping what can be made anew from the input.

In training the nonlinearity keeps its input for the backward pass and the convolution its own: two feature maps beside
the input of the norm. Both follow from that input by two cheap passes: they are dropped, and made anew when the
backward pass asks for them. That costs a hundredth of the time of a step on a CPU, and what autograd computes is the
same.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .dropout import Dropout


class _Recipe:
    """How the feature maps were made. The parameters are those of the forward pass, whoever replaces them meanwhile."""

    def __init__(self, x: Tensor, norm: nn.GroupNorm, act: nn.Module, finish: Callable[[Tensor], Tensor]) -> None:
        self._norm = x.detach(), norm.num_groups, norm.weight.detach(), norm.bias.detach(), norm.eps
        self._act = act
        self._finish = finish
        self._normed: Tensor | None = None

    def normed(self) -> Tensor:
        """The input of the nonlinearity; the one left over by ``activated``, if there is."""
        normed, self._normed = self._normed, None
        return F.group_norm(*self._norm) if normed is None else normed

    def activated(self) -> Tensor:
        """The input of the convolution."""
        with torch.no_grad():
            normed = self.normed()
            activated = self._finish(self._act(normed))
        # Backward, the nonlinearity comes next.
        self._normed = normed
        return activated


def norm_act_conv(
    x: Float[Tensor, "b c h w"],
    norm: nn.GroupNorm,
    act: nn.Module,
    conv: nn.Conv2d,
    dropout: Dropout | None = None,
    lean: bool = True,
) -> Float[Tensor, "b c2 h2 w2"]:
    """conv(dropout(act(norm(x)))).

    Args:
        x: (B, C, H, W).
        norm: with weights.
        act: a nonlinearity that is no in-place operation.
        conv: any convolution.
        dropout: between act and conv.
        lean: allow to drop and remake. It happens in float32 training on a CPU: compiled code decides for itself what
            to remake, and on a GPU memory passes are what an uncompiled step is bound by.
    """
    if not (lean and norm.training and torch.is_grad_enabled() and _is_plain(x)):
        h = act(norm(x))
        out: Tensor = conv(h if dropout is None else dropout(h))
        return out
    finish: Callable[[Tensor], Tensor] = _unchanged
    if dropout is not None and dropout.p > 0:
        if not dropout.draws_bytes(x):
            return norm_act_conv(x, norm, act, conv, dropout, lean=False)
        mask = dropout.mask(x)
        finish = partial(dropout.apply_mask, mask=mask)
    recipe = _Recipe(x, norm, act, finish)
    normed = norm(x)
    with _instead(normed, recipe.normed):
        activated = act(normed)
    activated = finish(activated)
    with _instead(activated, recipe.activated):
        remade: Tensor = conv(activated)
    return remade


def _is_plain(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def _unchanged(h: Tensor) -> Tensor:
    return h


def _instead(tensor: Tensor, make: Callable[[], Tensor]) -> saved_tensors_hooks:
    """Where ``tensor`` would be kept for the backward pass, keep ``make``."""
    address = tensor.data_ptr()

    def pack(kept: Tensor) -> Tensor | Callable[[], Tensor]:
        return make if kept.data_ptr() == address else kept

    def unpack(packed: Tensor | Callable[[], Tensor]) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed()

    return saved_tensors_hooks(pack, unpack)
