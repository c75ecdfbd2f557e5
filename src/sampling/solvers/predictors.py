"""Predictors: one step of a numerical solver of the reverse process over the interval from t down to s.

Each returns the new state and its mean, the state before the step's noise is added. Noise is a callable, so that a
deterministic step draws none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...sde import SDE, ReverseSDE, expand
from ...sde.base import Score

Draw = Callable[[], Tensor]

VARIANCES = ("chain", "posterior")


@runtime_checkable
class Predictor(Protocol):
    """One step from t to s < t."""

    convergence_order: int | None
    """Order of a sampler that consists of these steps only (see ``Sampler``)."""

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """Return state and mean at s, both (B, *d).

        Args:
            sde: forward process.
            score: score(x, t).
            x: (B, *d), state at t.
            t: () or (B,), start of the step.
            s: same shape, end of the step.
            z: draws standard normal noise (B, *d).
        """
        ...


class ReverseDiffusion:
    """Reverse diffusion: the reverse SDE in the discretization of the forward chain (Song et al. 2021, appendix E).

    Args:
        probability_flow: discretize the ODE instead.
    """

    convergence_order = 1

    def __init__(self, probability_flow: bool = False) -> None:
        self.probability_flow = probability_flow

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        f, big_g = ReverseSDE(sde, score, self.probability_flow).discretize(x, t, s)
        x_mean = x - f
        return (x_mean if self.probability_flow else x_mean + expand(big_g, x) * z()), x_mean


class EulerMaruyama:
    """Euler and Maruyama's step of the reverse SDE.

    Args:
        probability_flow: Euler's step of the ODE instead.
    """

    convergence_order = 1

    def __init__(self, probability_flow: bool = False) -> None:
        self.probability_flow = probability_flow

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        reverse = ReverseSDE(sde, score, self.probability_flow)
        dt = t - s
        x_mean = x - reverse.drift(x, t) * expand(dt, x)
        if self.probability_flow:
            return x_mean, x_mean
        return x_mean + expand(reverse.diffusion(t) * dt.sqrt(), x) * z(), x_mean


class AncestralSampling:
    """Ancestral sampling of a Markov chain (appendix F, eq. 47; Ho et al. 2020, algorithm 2), for any SDE.

    With a transition x_t = a x_s + N(0, v): mean (x + v score) / a, then noise.

    Args:
        variance: ``chain``: chain and noise of the paper for this SDE (``SDE.ancestral_chain``: the DDPM chain for VP,
            the exact transition otherwise); ``posterior``: the exact transition and the variance of p(x_s | x_t, x_0),
            which is exact for data without variance and too small for long steps.

    Raises:
        UserError: variance is neither of these.
    """

    convergence_order = 1

    def __init__(self, variance: str = "chain") -> None:
        if variance not in VARIANCES:
            raise UserError(f"sampler.predictor.variance is {variance!r}: choose one of {', '.join(VARIANCES)}")
        self.variance = variance

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        if self.variance == "chain":
            scale, v, added = sde.ancestral_chain(t, s)
        else:
            scale, v = sde.transition(t, s)
            added = sde.ancestral_variance(t, s)
        x_mean = (x + expand(v, x) * score(x, t)) / expand(scale, x)
        return x_mean + expand(added.sqrt(), x) * z(), x_mean


class NoPredictor:
    """No prediction: corrector-only sampling."""

    convergence_order = None

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        return x, x
