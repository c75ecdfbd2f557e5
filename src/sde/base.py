"""Stochastic differential equations with Gaussian marginals, and their reversal in time.

Forward process (Song et al. 2021, eq. 5), for t from 0 to T:

    dx = f(x, t) dt + g(t) dw,        p(x_t | x_0) = N(alpha(t) x_0, sigma(t)^2 I).

The functions alpha and sigma determine it: the drift is linear, f(x, t) = x alpha'(t) / alpha(t), and
g(t)^2 = d sigma^2/dt - 2 sigma^2 alpha'/alpha (eqs. 28-29 of the paper solved for f and g).

Reverse process (eq. 6) and probability-flow ODE (eq. 13), with the score s(x, t):

    dx = (f - g^2 s) dt + g dw,        dx = (f - g^2 s / 2) dt.

Time is a tensor: () when it is the same for all samples, (B,) when each has its own. A Python number is taken for a
tensor () of float64.
"""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..runtime.precision import widest_float

Score = Callable[[Tensor, Tensor], Tensor]
"""score(x, t) -> gradient of log p_t at x, in the shape of x."""


def expand(t: Tensor, x: Tensor) -> Tensor:
    """Reshape a value per sample, () or (B,), so that it broadcasts over x of shape (B, *d)."""
    return t if t.ndim == 0 else t.reshape(-1, *(1,) * (x.ndim - 1))


class NumbersAsTimes:
    """Lets the public methods of a subclass take Python numbers where they take the times ``t`` and ``s``."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_")):
                setattr(cls, name, _taking_numbers(method))


def _taking_numbers(method: Callable[..., Any]) -> Callable[..., Any]:
    places = [i for i, name in enumerate(inspect.signature(method).parameters) if name in ("t", "s")]
    if not places:
        return method

    @functools.wraps(method)
    def taking_numbers(*args: Any, **named: Any) -> Any:
        # No any() over a generator: torch.compile traces it only from torch 2.8.
        times = [_time(value) if i in places else value for i, value in enumerate(args)]
        named = {name: _time(value) if name in ("t", "s") else value for name, value in named.items()}
        return method(*times, **named)

    return taking_numbers


def _time(value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


@dataclass(frozen=True)
class SDE(NumbersAsTimes, ABC):
    """A forward process. A subclass implements ``alpha`` and ``sigma``; closed forms of the other methods are optional.

    Args:
        T: end of the process, where the marginal is the prior.
    """

    T: float = 1.0

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Scale of the data at time t, 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Standard deviation of the noise at time t."""

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """d ln alpha / dt, the coefficient of x in the drift; by automatic differentiation unless overridden."""
        return _derivative(lambda u: self.alpha(u).log(), t)

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """g(t)^2; by automatic differentiation unless overridden."""
        sigma_squared = self.sigma(t).square()
        return _derivative(lambda u: self.sigma(u).square(), t) - 2 * sigma_squared * self.log_alpha_derivative(t)

    def drift(self, x: Float[Tensor, "b *d"], t: Tensor) -> Float[Tensor, "b *d"]:
        """f(x, t)."""
        return x * expand(self.log_alpha_derivative(t), x)

    def diffusion(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """g(t)."""
        return self.diffusion_squared(t).sqrt()

    def marginal(self, x0: Float[Tensor, "b *d"], t: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """Mean (B, *d) and standard deviation, in the shape of t, of x_t given x_0."""
        return x0 * expand(self.alpha(t), x0), self.sigma(t)

    def discretize(self, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """One forward step of the chain from s up to t: x_t = x_s + f + G z.

        The default is Euler and Maruyama's: f = f(x, t) (t - s), G = g(t) sqrt(t - s).

        Args:
            x: (B, *d), the state at which the step is evaluated.
            t: () or (B,), upper end of the interval.
            s: same shape as t, lower end, s < t.

        Returns:
            f of shape (B, *d) and G in the shape of t.
        """
        dt = t - s
        return self.drift(x, t) * expand(dt, x), self.diffusion(t) * dt.sqrt()

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """lambda(t) = ln(alpha / sigma), decreasing in t; half the logarithm of the signal-to-noise ratio."""
        return (self.alpha(t) / self.sigma(t)).log()

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """The time at which lambda(t) = ``log_snr``, within [0, T]; by bisection in float64 unless overridden."""
        target = log_snr.to(widest_float(log_snr.device))
        low, high = torch.zeros_like(target), torch.full_like(target, self.T)
        # 60 halvings of [0, T] leave less than the spacing of float64 at T; ln 0 at t = 0 compares as infinity.
        for _ in range(60):
            middle = (low + high) / 2
            too_early = self.log_snr(middle) > target
            low, high = torch.where(too_early, middle, low), torch.where(too_early, high, middle)
        return ((low + high) / 2).to(log_snr.dtype)

    def ancestral_variance(self, t: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Variance of p(x_s | x_t, x_0), the posterior of one step from t to s.

        With the forward transition x_t = a x_s + N(0, v), a = alpha_t / alpha_s, v = sigma_t^2 - a^2 sigma_s^2, it
        is v sigma_s^2 / sigma_t^2 (Song et al. 2021, eq. 47 for VE; Ho et al. 2020, eq. 7 for VP).
        """
        return self.transition(t, s)[1] * (self.sigma(s) / self.sigma(t)).square()

    def ancestral_chain(self, t: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor, Tensor]:
        """The Markov chain of the paper's ancestral sampler: scale a, variance v, variance of the added noise.

        The default is the exact transition with the variance of its posterior.
        """
        return *self.transition(t, s), self.ancestral_variance(t, s)

    def chain_marginal(self, index: Float[Tensor, "*b"], steps: int) -> tuple[Tensor, Tensor]:
        """alpha and sigma after ``index`` + 1 of the ``steps`` steps of the chain that discrete nets are trained on.

        The default is the marginal of the SDE at t = (index + 1) T / steps.

        Args:
            index: () or (B,), whole numbers from 0 to steps - 1.
            steps: N, the length of the chain.
        """
        t = (index + 1) * (self.T / steps)
        return self.alpha(t), self.sigma(t)

    def transition(self, t: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        """Scale a and variance v of the exact forward transition p(x_t | x_s) = N(a x_s, v I), s < t."""
        scale = self.alpha(t) / self.alpha(s)
        return scale, self.sigma(t).square() - (scale * self.sigma(s)).square()

    def prior_mean_like(self, x: Float[Tensor, "b *d"]) -> Tensor:
        """Mean of the prior, broadcastable to x; zero unless the SDE says otherwise."""
        return x.new_zeros(())

    def prior_sample(self, noise: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        """Turn standard normal noise (B, *d) into samples of the prior N(prior mean, sigma(T)^2 I)."""
        return self.prior_mean_like(noise) + self._prior_sigma() * noise

    def prior_log_prob(self, z: Float[Tensor, "b *d"]) -> Float[Tensor, " b"]:
        """Log-density of the prior at z (B, *d), in nats: (B,)."""
        sigma = self._prior_sigma()
        squares = (z - self.prior_mean_like(z)).square().flatten(1).sum(1) / sigma**2
        dimension = math.prod(z.shape[1:])
        return -0.5 * (squares + dimension * math.log(2 * math.pi * sigma**2))

    def _prior_sigma(self) -> float:
        return float(self.sigma(torch.tensor(self.T, dtype=torch.float64)))


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    # enable_grad, because samplers run under no_grad; float64, because derived coefficients multiply scores.
    with torch.enable_grad():
        u = t.detach().to(widest_float(t.device)).requires_grad_(True)
        # 0 u keeps a constant, such as alpha = 1, on the graph.
        (gradient,) = torch.autograd.grad((function(u) + 0 * u).sum(), u)
    return gradient.to(t.dtype)


class ReverseSDE(NumbersAsTimes):
    """The time reversal of ``sde`` under ``score``, or its probability-flow ODE.

    Args:
        sde: the forward process.
        score: score(x, t), for example a ScoreModel.
        probability_flow: drop the noise and halve the score term (eq. 13).
    """

    def __init__(self, sde: SDE, score: Score, probability_flow: bool = False) -> None:
        self.sde = sde
        self.score = score
        self.probability_flow = probability_flow
        self._factor = 0.5 if probability_flow else 1.0

    @property
    def T(self) -> float:
        """End time of the forward process, where the reversal starts."""
        return self.sde.T

    def drift(self, x: Float[Tensor, "b *d"], t: Tensor) -> Float[Tensor, "b *d"]:
        """f - g^2 s, or f - g^2 s / 2 for the probability flow."""
        return self.sde.drift(x, t) - self._factor * expand(self.sde.diffusion_squared(t), x) * self.score(x, t)

    def diffusion(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """g(t), or zero for the probability flow."""
        return torch.zeros_like(t) if self.probability_flow else self.sde.diffusion(t)

    def discretize(self, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor) -> tuple[Float[Tensor, "b *d"], Tensor]:
        """One backward step from t to s: x_s = x_t - f + G z (appendix E, eq. 46)."""
        f, big_g = self.sde.discretize(x, t, s)
        f = f - self._factor * expand(big_g.square(), x) * self.score(x, t)
        return f, torch.zeros_like(big_g) if self.probability_flow else big_g
