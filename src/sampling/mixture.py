"""Mixtures of Gaussians, whose exact score and density at every noise level serve as references for learned models.

With p_0 = sum of w_k N(m_k, s_k^2 I) the marginal at time t is sum of w_k N(alpha m_k, (alpha^2 s_k^2 + sigma^2) I).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from ..sde import SDE


class GaussianMixture:
    """The exact model of data from a mixture, with the interface of a score model.

    Args:
        sde: the forward process.
        weights: w_k, (K,), positive with sum 1.
        means: m_k, (K, d).
        stds: s_k, (K,), positive.
    """

    def __init__(
        self, sde: SDE, weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], stds: Float[Tensor, " k"]
    ) -> None:
        self.sde = sde
        self.weights = weights
        self.means = means
        self.stds = stds

    def __call__(
        self, x: Float[Tensor, "b d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b d"]:
        """The score (B, d) at x (B, d) and t, () or (B,)."""
        toward, variance, log_joint = self._components(x, t)
        shares = log_joint.softmax(1)
        return ((shares / variance)[..., None] * toward).sum(1)

    def log_prob(self, x: Float[Tensor, "b d"], t: Tensor) -> Float[Tensor, " b"]:
        """ln p_t(x), (B,), in nats."""
        return self._components(x, t)[2].logsumexp(1)

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha m_k - x (B, K, d), variances (B, K) and ln w_k N(x; ...) (B, K), in the dtype of x."""
        t = t if t.ndim == 0 else t.to(x.device)
        alpha, sigma = (value.to(x).reshape(-1, 1) for value in (self.sde.alpha(t), self.sde.sigma(t)))
        variance = (alpha * self.stds.to(x)).square() + sigma.square()
        toward = alpha[..., None] * self.means.to(x) - x[:, None]
        log_normal = -0.5 * (toward.square().sum(2) / variance + x.shape[1] * (2 * math.pi * variance).log())
        return toward, variance, self.weights.to(x).log() + log_normal
