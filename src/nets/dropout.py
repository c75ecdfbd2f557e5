"""Dropout whose masks cost little on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_VALUES = 1 << 16


class Dropout(nn.Dropout):
    """Zeroes activations with probability p in training and divides the others by 1 - p.

    On a CPU torch draws a float for each activation, one after the other, and keeps it for the backward pass: several
    per cent of the time of a training step and of its memory. Here a random 64-bit word decides about four, and a
    byte each is kept. The probability is then a multiple of 2^-16, and the scale belongs to that.
    """

    def forward(self, input: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        channels_last = input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)
        dense = input.is_contiguous() or channels_last
        drawn_elsewhere = input.device.type != "cpu" or torch.compiler.is_compiling() or not dense
        dropped = round(self.p * _VALUES)
        if not self.training or drawn_elsewhere or not 0 < dropped < _VALUES:
            return F.dropout(input, self.p, self.training)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        bits = words.view(torch.int16)[: input.numel()].as_strided(input.shape, input.stride())
        kept = input * (bits >= dropped - _VALUES // 2)
        return kept.mul_(_VALUES / (_VALUES - dropped))
