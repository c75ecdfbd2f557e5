"""Dropout with cheap masks on a CPU."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError

_VALUES = 1 << 16


def check_dropout(p: float) -> None:
    """Raise UserError unless ``p`` is a probability."""
    if not 0 <= p <= 1:
        raise UserError(f"net.dropout={p}: give a probability from 0 to 1")


class Dropout(nn.Dropout):
    """Zeroes activations with probability p in training and divides the others by 1 - p.

    On a CPU, torch draws one float per activation serially and keeps it for the backward pass, which costs several
    percent of the time and memory of a training step. Here one random 64-bit word serves four activations, and one byte
    per activation is kept. The probability is rounded to a multiple of 2^-16, and the scale uses the rounded value.
    """

    def __init__(self, p: float = 0.5) -> None:
        check_dropout(p)
        super().__init__(p)

    def forward(self, input: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        if not self.draws_bytes(input):
            return F.dropout(input, self.p, self.training)
        return self.apply_mask(input, self.mask(input))

    def draws_bytes(self, input: Float[Tensor, "b *d"]) -> bool:
        """Whether ``mask`` applies to ``input``; otherwise torch's own dropout is used."""
        return (
            self.training
            and input.device.type == "cpu"
            and not torch.compiler.is_compiling()
            and 0 < self._dropped < _VALUES
            and (input.is_contiguous() or (input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)))
        )

    def mask(self, input: Float[Tensor, "b *d"]) -> Bool[Tensor, "b *d"]:
        """Draw the mask of kept activations, in the memory format of ``input``."""
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        bits = words.view(torch.int16)[: input.numel()].as_strided(input.shape, input.stride())
        return bits >= self._dropped - _VALUES // 2

    def apply_mask(self, input: Float[Tensor, "b *d"], mask: Bool[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        """Return the scaled ``input`` where the mask is true, zero elsewhere."""
        return (input * mask).mul_(_VALUES / (_VALUES - self._dropped))

    @property
    def _dropped(self) -> int:
        return round(self.p * _VALUES)
