"""Cross-entropy at all noise levels, the loss of a noise-conditional classifier."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...noise import Address
from ..base import SDE, expand
from ..score_model import Condition, Model
from ..time_samplers import TimeSampler
from .base import Objective


@runtime_checkable
class TrainableClassifier(Protocol):
    """A classifier of x_t that knows its SDE."""

    @property
    def sde(self) -> SDE:
        """The forward process."""
        ...

    def log_prob(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """log p_t(labels | x), (B,), at x (B, *d) and t (B,)."""
        ...


class NoisyClassification(Objective):
    """-log p_t(y | x_t) in nats, with x_t drawn from p(x_t | x_0); UserError for data without labels.

    Its expectation is minimal at the true posterior for every t.

    Args:
        time_sampler: distribution of t.
    """

    learns_score = False

    def __init__(self, time_sampler: TimeSampler) -> None:
        self.time_sampler = time_sampler

    def check(self, model: Model) -> None:
        """Raise UserError if ``model`` is no classifier, or if times lie outside of those of its SDE."""
        if not isinstance(model, TrainableClassifier):
            raise UserError("objective=noisy_classification trains a classifier: add model=noisy_classifier")
        self.time_sampler(model.sde, torch.full((1,), 0.5))

    def __call__(
        self,
        model: TrainableClassifier,
        x0: Float[Tensor, "b *d"],
        address: Address,
        cond: Condition = None,
        train: bool = True,
    ) -> Float[Tensor, " b"]:
        if cond is None or "labels" not in cond:
            raise UserError("a classifier is trained on labels, and the data set has none")
        t, importance = self.time_sampler(model.sde, address.uniform("time"))
        mean, sigma = model.sde.marginal(x0, t)
        x_t = mean + expand(sigma, x0) * address.normal("diffusion", x0)
        return -importance * model.log_prob(x_t, t, cond["labels"])
