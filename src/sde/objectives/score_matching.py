"""Denoising score matching (Song et al. 2021, eq. 7): a weighting, a distribution of times, a reduction.

With x_t = alpha x_0 + sigma z the score of p(x_t | x_0) is -z / sigma, and every loss of this family is

    w(t) |sigma s(x_t, t) + z|^2.

The paper's weighting lambda(t) = sigma^2 is w = 1; maximum likelihood, lambda = g^2, is w = g^2 / sigma^2.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...noise import Address
from ..base import SDE, expand
from ..score_model import Condition, Model, ScoreModel
from ..time_samplers import TimeSampler
from .base import Objective
from .coupling import Coupling
from .label_dropout import LabelDropout


@runtime_checkable
class Weighting(Protocol):
    """w(t), relative to the paper's weighting."""

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """w at times t."""
        ...


class PaperWeighting:
    """w = 1, that is lambda(t) = sigma(t)^2."""

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.ones_like(t)


class LikelihoodWeighting:
    """w = g^2 / sigma^2: the loss bounds the negative log-likelihood (Song et al. 2021b, theorem 1)."""

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return sde.diffusion_squared(t) / sde.sigma(t).square()


class EDMWeighting:
    """EDM's weight on the denoised image, (sigma^2 + sigma_d^2) / (sigma sigma_d)^2, expressed on the score.

    For x / alpha at level s = sigma / alpha, |D - x_0|^2 = s^2 |sigma score + z|^2, so w = 1 + (s / sigma_d)^2.

    Args:
        sigma_data: standard deviation of the data.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        self.sigma_data = sigma_data

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 1 + (sde.sigma(t) / (sde.alpha(t) * self.sigma_data)).square()


class VelocityWeighting:
    """The weight of flow matching on the velocity dx_t/dt, w = (g^2 / (2 sigma))^2, expressed on the score.

    The velocity alpha' x_0 + sigma' z differs from its estimate by g^2 / (2 sigma) times the error of z.
    """

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return (sde.diffusion_squared(t) / (2 * sde.sigma(t))).square()


class ScoreMatching(Objective):
    """Denoising score matching for any SDE.

    Args:
        time_sampler: distribution of t.
        weighting: w(t).
        reduction: ``sum``: half the sum over the dimensions of a sample, the paper's VE setting; ``mean``: their
            mean, the setting of VP and sub-VP.
        label_dropout: probability with which a class label is replaced by ``null_label`` in training, for
            classifier-free guidance (Ho and Salimans 2022).
        null_label: the label that means "no label"; the nets use ``num_classes``.
        chain_steps: N of the discrete chain whose alpha and sigma noise the data at its times (i + 1) T / N, as
            ``parametrization=ddpm`` reads them; None: those of the SDE.
        coupling: which noise of the batch belongs to which sample; None: they are independent. Used only in training.

    Raises:
        UserError: unknown reduction, or label dropout without a null label.
    """

    def __init__(
        self,
        time_sampler: TimeSampler,
        weighting: Weighting,
        reduction: str = "sum",
        label_dropout: float = 0.0,
        null_label: int | None = None,
        chain_steps: int | None = None,
        coupling: Coupling | None = None,
    ) -> None:
        if reduction not in ("sum", "mean"):
            raise UserError(f"objective.reduction is {reduction!r}: choose sum or mean")
        self.time_sampler = time_sampler
        self.weighting = weighting
        self.reduction = reduction
        self.label_dropout = LabelDropout(label_dropout, null_label)
        self.chain_steps = chain_steps
        self.coupling = coupling
        self.learns_score = coupling is None

    def check(self, model: ScoreModel) -> None:
        """Raise UserError if the times lie outside of those of the SDE of ``model``, or the coupling objects to it."""
        self.time_sampler(model.sde, torch.full((1,), 0.5))
        if self.coupling is not None:
            self.coupling.check(model)

    def __call__(
        self, model: Model, x0: Float[Tensor, "b *d"], address: Address, cond: Condition = None, train: bool = True
    ) -> Float[Tensor, " b"]:
        t, importance = self.time_sampler(model.sde, address.uniform("time"))
        noise = address.normal("diffusion", x0)
        if train and self.coupling is not None:
            noise = self.coupling(x0, noise, address.position)
        cond = self.label_dropout(cond, address) if train else cond
        return importance * self.loss(model, x0, t, noise, cond)

    def loss(
        self,
        model: Model,
        x0: Float[Tensor, "b *d"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b *d"],
        cond: Condition = None,
    ) -> Float[Tensor, " b"]:
        """Loss of each sample, (B,), at given times (B,) and standard normal noise (B, *d)."""
        alpha, sigma = (expand(value, x0) for value in self._marginal(model.sde, t))
        mean = alpha * x0
        error = sigma * model(mean + sigma * noise, t, cond) - self.target(
            model.sde, x0, mean + sigma * noise, t, noise
        )
        squares = error.square().flatten(1)
        reduced: Tensor = squares.mean(1) if self.reduction == "mean" else 0.5 * squares.sum(1)
        return self.weighting(model.sde, t) * reduced

    def target(
        self,
        sde: SDE,
        x0: Float[Tensor, "b *d"],
        x_t: Float[Tensor, "b *d"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b *d"],
    ) -> Float[Tensor, "b *d"]:
        """The regression target of sigma * score: -noise, an unbiased estimate of sigma times the score of p_t."""
        return -noise

    def _marginal(self, sde: SDE, t: Float[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        if self.chain_steps is None:
            return sde.alpha(t), sde.sigma(t)
        return sde.chain_marginal(torch.round(t * (self.chain_steps / sde.T)) - 1, self.chain_steps)
