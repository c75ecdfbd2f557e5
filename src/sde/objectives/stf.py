"""Stable target field (Xu et al. 2023): score matching against a posterior mean instead of a single noise.

The score of p_t is that of the conditional p(x_t | x_0), averaged over the posterior of x_0 given x_t. For a reference
set {x_j} that average is estimated with self-normalized importance weights,

    sigma E[score] = -(x_t - alpha sum_j w_j x_j) / sigma,    w_j proportional to N(x_t; alpha x_j, sigma^2 I),

which has less variance than -z at middle noise levels, and a bias that vanishes as the reference grows. It is exact
for the empirical distribution when the reference is the whole data set.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ...runtime.precision import widest_float
from ..base import SDE, expand
from .score_matching import ScoreMatching

ReferenceSet = Callable[[Tensor], Tensor]
"""reference(x0 (B, *d)) -> samples (R, *d) of the data, of which the batch x0 should be part."""


class StableTargetField(ScoreMatching):
    """Score matching with stable targets; for nets without class labels, since the reference mixes classes.

    The arguments are those of ScoreMatching. The reference is the batch of this process unless ``set_reference`` sets
    another one.
    """

    depends_on_batch = True
    _reference: ReferenceSet | None = None

    def set_reference(self, reference: ReferenceSet) -> None:
        """Set the function that returns the reference set: a larger batch, a gathered batch or the whole data set."""
        self._reference = reference

    def target(
        self,
        sde: SDE,
        x0: Float[Tensor, "b *d"],
        x_t: Float[Tensor, "b *d"],
        t: Float[Tensor, " b"],
        noise: Float[Tensor, "b *d"],
    ) -> Float[Tensor, "b *d"]:
        reference = x0 if self._reference is None else self._reference(x0)
        # Exponents are of the order of |x|^2 / sigma^2, 1e7 for an image at sigma = 0.01, and only their differences
        # count: float64. |x_t|^2 is common to all and left out.
        kind = widest_float(x_t.device)
        x, x_j = x_t.flatten(1).to(kind), reference.flatten(1).to(kind)
        alpha, sigma = (expand(value.to(kind), x) for value in (sde.alpha(t), sde.sigma(t)))
        exponents = (alpha * (x @ x_j.T) - 0.5 * (alpha * x_j.norm(dim=1)).square()) / sigma.square()
        mean = exponents.softmax(dim=1) @ x_j
        target: Tensor = (alpha * mean - x) / sigma
        return target.to(x_t.dtype).reshape(x_t.shape)
