"""Base class of all objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...noise import Address
from ..score_model import Condition


class Objective(ABC):
    """A loss per sample, with addressed random numbers."""

    depends_on_batch: bool = False
    """Whether the loss of a sample depends on the others in its batch."""

    learns_score: bool = True
    """Whether the expected loss is least at the score of every p_t; the tests check it."""

    compilable: bool = True
    """Whether ``torch.compile`` can trace the loss, as ``module.compile=true`` needs."""

    def check(self, model: Any) -> None:  # noqa: B027 # most have nothing to object
        """Raise UserError if ``model`` cannot be trained with these settings; called before data are read."""

    @abstractmethod
    def __call__(
        self, model: Any, x0: Float[Tensor, "b *d"], address: Address, cond: Condition = None, train: bool = True
    ) -> Float[Tensor, " b"]:
        """Return the losses (B,).

        Args:
            model: the model in training: a score, or a classifier of noisy data.
            x0: (B, *d) data, in the range of the model.
            address: address of the random numbers of this batch.
            cond: named tensors for the net; class labels are ``labels``, (B,) int64.
            train: whether this is a training step; labels are dropped only in training.
        """
