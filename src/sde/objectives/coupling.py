"""Which noise belongs to which sample: minibatch optimal transport (Tong et al. 2024; Pooladian et al. 2023).

Within a batch, the noises are permuted so that the sum of |x_0 - z|^2 is the least. Paths of flow matching then cross
less, and its ODE needs fewer steps. What such a net learns is the velocity of that ODE, no longer the score: samplers
and likelihoods of the ODE are right, samplers of the SDE are not.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...distributed import gather_rows
from ...errors import UserError
from ..score_model import ScoreModel


@runtime_checkable
class Coupling(Protocol):
    """A permutation of the noises of a batch."""

    def check(self, model: ScoreModel) -> None:
        """Raise UserError if ``model`` cannot be trained with it."""
        ...

    def __call__(self, x0: Tensor, noise: Tensor, position: Tensor) -> Tensor:
        """The noise (B, *d) of each sample of x0 (B, *d), whose positions in the global batch are ``position`` (B,)."""
        ...


class OptimalTransport:
    """The least sum of squared distances over the batches of all processes; every process calls it.

    With gradient accumulation, each part of the global batch is permuted by itself.
    """

    def check(self, model: ScoreModel) -> None:
        """Raise UserError for a net with classes: the noise of a class would not be normal."""
        if model.num_classes:
            raise UserError(
                "objective.coupling pairs noise with data of any class, but sampling a class starts from all noise: "
                "set net.num_classes=null, or objective.coupling=null"
            )

    @torch.compiler.disable  # type: ignore[untyped-decorator] # torch has no type for it
    def __call__(
        self, x0: Float[Tensor, "b *d"], noise: Float[Tensor, "b *d"], position: Int64[Tensor, " b"]
    ) -> Float[Tensor, "b *d"]:
        places = gather_rows(position)
        order = places.argsort()
        data, noises = (gather_rows(part.flatten(1))[order] for part in (x0, noise))
        # |x|^2 and |z|^2 add up to the same for every permutation.
        cost = -(data.double() @ noises.double().T)
        chosen = torch.from_numpy(linear_sum_assignment(cost.numpy())[1])
        mine = torch.searchsorted(places[order], position.cpu())
        return noises[chosen[mine]].reshape(noise.shape).to(noise)
