"""What every objective shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...noise import Address
from ..score_model import Condition


class Objective(ABC):
    """A loss of each sample, with random numbers found by address."""

    depends_on_batch: bool = False
    """Whether the loss of a sample depends on the others in its batch."""

    def check(self, model: Any) -> None:  # noqa: B027 # most have nothing to object
        """UserError where ``model`` cannot be trained with these settings; known before data are read."""

    @abstractmethod
    def __call__(
        self, model: Any, x0: Float[Tensor, "b *d"], address: Address, cond: Condition = None, train: bool = True
    ) -> Float[Tensor, " b"]:
        """Losses (B,).

        Args:
            model: what is trained: a score, or a classifier of noisy data.
            x0: (B, *d) data, in the range of the model.
            address: where this batch finds its random numbers.
            cond: named tensors for the net; class labels are ``labels``, (B,) int64.
            train: whether this is a training step; labels may be dropped in one only.
        """
