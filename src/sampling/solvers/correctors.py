"""Correctors: Markov chain Monte Carlo at a fixed noise level, which leaves p_t unchanged in the limit of small steps.

The step size is set by a signal-to-noise ratio (Song et al. 2021, appendix G, algorithms 4 and 5), times 2 a with
a = (alpha_t / alpha_s)^2 over the interval of the grid: 1 for VE, 1 - beta_i for VP.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...sde import SDE, expand
from ...sde.base import Score
from .predictors import Draw

_MOST = 10_000
NORMS = ("sample", "batch")


@runtime_checkable
class Corrector(Protocol):
    """One correction at time t; s is the next time of the grid."""

    steps: int
    """Corrections at each time, one evaluation of the score each."""

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        """Return state and mean, both (B, *d), at the same time t."""
        ...


class _SNRCorrector:
    """Checked settings of a corrector.

    Args:
        snr: signal-to-noise ratio r, > 0; the paper's values depend on the SDE and the resolution.
        steps: corrections at each time.
    """

    def __init__(self, snr: float = 0.16, steps: int = 1) -> None:
        if snr <= 0:
            raise UserError(f"sampler.corrector.snr is {snr}: it must be positive (the paper uses 0.16 for CIFAR-10)")
        if not 0 <= steps <= _MOST:
            raise UserError(f"sampler.corrector.steps is {steps}: give 0 to {_MOST:,}")
        self.snr = snr
        self.steps = steps


class Langevin(_SNRCorrector):
    """Langevin dynamics with step size (r |z| / |score|)^2 2 a.

    Args:
        snr: signal-to-noise ratio r.
        steps: corrections at each time.
        norm: ``sample``: norms of each sample, so that an image does not depend on its batch; ``batch``: mean norms of
            the batch, as in the original code.
    """

    def __init__(self, snr: float = 0.16, steps: int = 1, norm: str = "sample") -> None:
        super().__init__(snr, steps)
        if norm not in NORMS:
            raise UserError(f"sampler.corrector.norm is {norm!r}: choose one of {', '.join(NORMS)}")
        self.norm = norm

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        gradient, noise = score(x, t), z()
        ratio = self._norm(noise) / self._norm(gradient)
        size = (self.snr * ratio).square() * 2 * _decay(sde, t, s)
        return _move(x, gradient, size, noise)

    def _norm(self, v: Tensor) -> Tensor:
        norms: Tensor = v.flatten(1).norm(dim=1)
        return norms.mean() if self.norm == "batch" else norms


class AnnealedLangevin(_SNRCorrector):
    """Annealed Langevin dynamics (Song and Ermon 2019) with step size (r sigma_t)^2 2 a."""

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        size = (self.snr * sde.sigma(t)).square() * 2 * _decay(sde, t, s)
        return _move(x, score(x, t), size, z())


class NoCorrector:
    """No correction: predictor-only sampling."""

    steps = 0

    def __call__(
        self, sde: SDE, score: Score, x: Float[Tensor, "b *d"], t: Tensor, s: Tensor, z: Draw
    ) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
        return x, x


def _decay(sde: SDE, t: Tensor, s: Tensor) -> Tensor:
    return (sde.alpha(t) / sde.alpha(s)).square()


def _move(x: Tensor, gradient: Tensor, size: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    size = expand(size, x)
    x_mean = x + size * gradient
    return x_mean + (2 * size).sqrt() * noise, x_mean
