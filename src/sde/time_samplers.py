"""Distributions of training times: each maps a uniform number to a time by its inverse distribution function.

Each returns the time and the density ratio 1 / (p(t) (T - eps)), which preserves the expectation of a loss that is
defined for uniform times. If the distribution is part of the objective itself, the ratio is 1.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..runtime.precision import widest_float
from .base import SDE


@runtime_checkable
class TimeSampler(Protocol):
    """A distribution of training times."""

    def __call__(self, sde: SDE, u: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Times and importance weights, both (B,), from uniform numbers u on (0, 1)."""
        ...


def _check_eps(sde: SDE, eps: float) -> None:
    if not 0 <= eps < sde.T:
        raise UserError(f"the smallest time eps={eps} must lie in [0, T={sde.T})")


class UniformTime:
    """t uniform on [eps, T], as in the paper.

    Args:
        eps: smallest time; the score is not trained below it.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        self.eps = eps

    def __call__(self, sde: SDE, u: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        _check_eps(sde, self.eps)
        return self.eps + u * (sde.T - self.eps), torch.ones_like(u)


class GridTime:
    """t uniform on the N times of a discrete chain: the SMLD and DDPM objectives.

    Args:
        num_scales: N, the number of levels.
        from_zero: if true, the times are T i / (N - 1), i from 0 (SMLD: level 0 is sigma_min); otherwise they are
            T (i + 1) / N (DDPM: level 0 has the noise of the first step).
    """

    def __init__(self, num_scales: int = 1000, from_zero: bool = True) -> None:
        if num_scales < 2:
            raise UserError(f"GridTime needs num_scales >= 2, got {num_scales}")
        self.num_scales = num_scales
        self.from_zero = from_zero

    def __call__(self, sde: SDE, u: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        index = (u * self.num_scales).floor().clamp(max=self.num_scales - 1)
        fraction = index / (self.num_scales - 1) if self.from_zero else (index + 1) / self.num_scales
        return fraction * sde.T, torch.ones_like(u)


class LikelihoodTime:
    """t with density proportional to g^2 / sigma^2: the importance sampling of ScoreFlow (Song et al. 2021b, sec. 4.2).

    g^2 / sigma^2 = -2 d lambda / dt, so the log-SNR is uniform. With the likelihood weighting, the product of weight
    and importance is the constant 2 (lambda_eps - lambda_T) / (T - eps).

    Args:
        eps: smallest time.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        self.eps = eps

    def __call__(self, sde: SDE, u: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        _check_eps(sde, self.eps)
        # Filled on the device of u: a tensor made from a Python number would wait for a GPU.
        first, last = (sde.log_snr(u.new_full((1,), t, dtype=widest_float(u.device))) for t in (self.eps, sde.T))
        first, span = first.to(u.dtype), (last - first).to(u.dtype)
        t = sde.time_of_log_snr(first + u * span).clamp(self.eps, sde.T)
        normalizer = -2 * span / (sde.T - self.eps)
        return t, normalizer * sde.sigma(t).square() / sde.diffusion_squared(t)


class LogNormalSigma:
    """ln(sigma / alpha) normal: the noise levels of EDM (Karras et al. 2022, table 1), for any SDE.

    Args:
        mean: mean of ln sigma, for data in [-1, 1].
        std: standard deviation of ln sigma.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, sde: SDE, u: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        log_sigma = self.mean + self.std * torch.special.ndtri(u.to(widest_float(u.device)).clamp(1e-10, 1 - 1e-10))
        return sde.time_of_log_snr(-log_sigma).clamp(0, sde.T).to(u.dtype), torch.ones_like(u)
