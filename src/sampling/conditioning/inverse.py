"""Linear inverse problems: the score of p_t(x | y) for a measurement y = H x_0 + N(0, noise_std^2 I).

With x0hat(x, t) = E[x_0 | x_t = x], the net's data prediction, the likelihood of y is taken as Gaussian around H x0hat:

    grad log p_t(y | x) ~ (d x0hat / d x)^T H^T S^-1 (y - H x0hat).

The methods differ in S, the covariance of y given x_t. Each call evaluates the net once and back-propagates once.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...sde import expand, tweedie
from ...sde.score_model import Condition, Model
from .gradients import gradients, graph_safe, graph_safe_condition, leaf
from .guidance import Guidance, required, without
from .operators import LinearOperator

JACOBIANS = ("net", "gaussian")


class PosteriorGuidance(Guidance):
    """A model conditioned on ``cond["measurement"]``, (B, *m).

    Args:
        model: score and SDE.
        operator: H.
        noise_std: standard deviation of the measurement's noise, in units of the data; 0 for none.
        scale: factor of the guidance; 1 is the likelihood itself.
    """

    operator: LinearOperator

    def __init__(self, model: Model, operator: LinearOperator, noise_std: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(model)
        if noise_std < 0:
            raise UserError(f"guidance noise_std is {noise_std}: it must not be negative")
        self.operator = operator
        self.noise_std = noise_std
        self.scale = scale

    def __call__(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        measurement = required(cond, "measurement", "an inverse problem")
        with gradients():
            u = x if x.requires_grad else leaf(x)
            y, t = graph_safe(measurement.to(x)), graph_safe(t)
            rest = graph_safe_condition(without(cond, "measurement"))
            score = self.model(u, t, rest)
            x0 = tweedie(self.sde, u, t, score)
            residual = y - self.operator.forward(x0)
            pull = self.operator.transpose(self.weigh(residual, t))
            gradient = self.pull_back(x0, u, t, pull, keep=x.requires_grad)
        guided: Tensor = score + self.scale * gradient
        return guided if x.requires_grad else guided.detach()

    def unguided(self, x: Float[Tensor, "b *d"], t: Tensor, cond: Condition = None) -> Float[Tensor, "b *d"]:
        return self.model(x, t, without(cond, "measurement"))

    def pull_back(
        self, x0: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], t: Tensor, pull: Float[Tensor, "b *d"], keep: bool
    ) -> Float[Tensor, "b *d"]:
        """(d x0hat / d x)^T pull; ``keep`` retains the graph."""
        (gradient,) = torch.autograd.grad(x0, x, pull, create_graph=keep)
        return gradient

    @abstractmethod
    def weigh(self, residual: Float[Tensor, "b *m"], t: Tensor) -> Float[Tensor, "b *m"]:
        """S^-1 (y - H x0hat), at time t () or (B,)."""


class DPS(PosteriorGuidance):
    """Diffusion posterior sampling (Chung et al. 2023): S = v I, without the uncertainty of x0hat.

    With v = noise_std^2 (eq. 16 of the paper) the guidance is far too strong while x0hat is uncertain. Their algorithm
    instead divides the gradient of |residual|^2 by |residual|, once per step. A score is independent of steps, so the
    counterpart here is v = |residual|^2 / m, the empirical variance of the residual, bounded below by noise_std^2.
    Among the scales 1, 2, 4 and 8, 2 had the smallest measurement error on Gaussian data with noise 0.05 and 0.01;
    ``PseudoInverseGuidance`` had a smaller one.

    Args:
        model: score and SDE.
        operator: H.
        noise_std: standard deviation of the measurement's noise.
        scale: factor of the guidance.
        normalize: take v from the residual; otherwise v = noise_std^2.
    """

    def __init__(
        self,
        model: Model,
        operator: LinearOperator,
        noise_std: float = 0.0,
        scale: float = 2.0,
        normalize: bool = True,
    ) -> None:
        super().__init__(model, operator, noise_std, scale)
        if not normalize and noise_std == 0:
            raise UserError("guidance=dps without normalize divides by noise_std, which is 0: give the noise")
        self.normalize = normalize

    def weigh(self, residual: Float[Tensor, "b *m"], t: Tensor) -> Float[Tensor, "b *m"]:
        if not self.normalize:
            return residual / self.noise_std**2
        # The lower bound avoids 0 / 0 when the measurement is met exactly.
        floor = max(self.noise_std**2, torch.finfo(residual.dtype).tiny)
        return residual / expand(residual.flatten(1).square().mean(1).clamp(min=floor), residual)


class PseudoInverseGuidance(PosteriorGuidance):
    """ΠGDM (Song et al. 2023): S = r^2 H H^T + noise_std^2 I, r^2 the variance of x_0 given x_t.

    With s = sigma / alpha and data of standard deviation tau, r^2 = s^2 tau^2 / (s^2 + tau^2). This r^2, and therefore
    the guidance, is exact for data N(mean, tau^2 I). In the paper tau = 1.

    At large noise the Jacobian of x0hat is a small difference of large terms, which a learned net does not reproduce:
    guidance through the net then diverges. ``jacobian=gaussian`` uses the Jacobian for data N(mean, tau^2 I),
    alpha r^2 / sigma^2, without back-propagation. Without measurement noise this adds H^+ (y - H x0hat) to x0hat, as in
    DDNM (Wang et al. 2022).

    Args:
        model: score and SDE.
        operator: H.
        noise_std: standard deviation of the measurement's noise.
        scale: factor of the guidance.
        data_std: tau, in units of the data.
        jacobian: ``net``, or ``gaussian``.
    """

    def __init__(
        self,
        model: Model,
        operator: LinearOperator,
        noise_std: float = 0.0,
        scale: float = 1.0,
        data_std: float = 0.5,
        jacobian: str = "net",
    ) -> None:
        super().__init__(model, operator, noise_std, scale)
        if data_std <= 0:
            raise UserError(f"guidance data_std is {data_std}: it must be positive")
        if jacobian not in JACOBIANS:
            raise UserError(f"guidance jacobian is {jacobian!r}: choose one of {', '.join(JACOBIANS)}")
        self.data_std = data_std
        self.jacobian = jacobian

    def pull_back(
        self, x0: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], t: Tensor, pull: Float[Tensor, "b *d"], keep: bool
    ) -> Float[Tensor, "b *d"]:
        if self.jacobian == "net":
            return super().pull_back(x0, x, t, pull, keep)
        slope = self.sde.alpha(t) * self._variance(t) / self.sde.sigma(t).square()
        return expand(slope, pull).to(pull) * pull

    def weigh(self, residual: Float[Tensor, "b *m"], t: Tensor) -> Float[Tensor, "b *m"]:
        variance = self._variance(t)
        return self.operator.solve(residual, self.noise_std**2 / variance) / expand(variance, residual).to(residual)

    def _variance(self, t: Tensor) -> Tensor:
        """r^2 at time t, in the shape of t."""
        noise = (self.sde.sigma(t) / self.sde.alpha(t)).square()
        return noise * self.data_std**2 / (noise + self.data_std**2)
