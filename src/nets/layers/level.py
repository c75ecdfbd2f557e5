"""One resolution of a U-Net."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from .attention import Attention
from .blocks import ResBlock


class Level(nn.Module):
    """The modules of one resolution, on the way down or up.

    Args:
        blocks: residual blocks, in order.
        attentions: the attention after each block, None for none.
        pyramid: the connection with the progressive path, or None.
        resample: the change of resolution after this level, or None at the last one.
    """

    def __init__(
        self,
        blocks: Sequence[ResBlock],
        attentions: Sequence[Attention | None],
        pyramid: nn.Module | None,
        resample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.blocks: Iterable[ResBlock] = nn.ModuleList(blocks)  # type: ignore[assignment] # torch has no typed ModuleList
        self.attentions = nn.ModuleDict({str(i): each for i, each in enumerate(attentions) if each is not None})
        self.pyramid = pyramid
        self.resample = resample

    def steps(self) -> Iterator[tuple[ResBlock, Attention | None]]:
        """Pairs of a block and the attention after it."""
        attentions: dict[str, Any] = dict(self.attentions.items())
        return ((block, attentions.get(str(i))) for i, block in enumerate(self.blocks))
