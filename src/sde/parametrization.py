"""How the raw output of a net becomes a score: four coefficients of one equation.

    score(x, t) = a_skip x + a_out net(a_in u, c_noise, cond),    u = x mapped to [-1, 1].

Defined on the score and not on the denoised image, so that nothing cancels at small sigma.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..runtime.precision import widest_float
from .base import SDE, NumbersAsTimes


class Coefficients(NamedTuple):
    """Values at time t, each in the shape of t: () or (B,)."""

    a_skip: Tensor
    a_out: Tensor
    a_in: Tensor
    c_noise: Tensor


@runtime_checkable
class Parametrization(Protocol):
    """The coefficients of an SDE at a time."""

    noise_scale: str | None
    """The kind of c_noise: ``sigma``, ``log sigma``, ``time`` or ``index``; None for another."""

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        """Coefficients at t, () or (B,)."""
        ...

    def check(self, sde: SDE, data_range: str) -> None:
        """Raise UserError if this parametrization does not work with the SDE or the data range."""
        ...


class Unconditional(NumbersAsTimes):
    """No restriction on SDE or data range."""

    noise_scale: str | None = None

    def check(self, sde: SDE, data_range: str) -> None:
        """Accept everything."""


class SongVE(Unconditional):
    """The paper's nets for the VE SDE: score = net(u, sigma) / sigma; the net's embedding takes the log of sigma."""

    noise_scale = "sigma"

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        sigma = sde.sigma(t)
        return Coefficients(torch.zeros_like(t), 1 / sigma, torch.ones_like(t), sigma)


class SongVP(Unconditional):
    """The paper's nets for VP and sub-VP: score = -net(u, 999 t) / sigma.

    Args:
        time_scale: what t / T is multiplied with before the net's embedding.
    """

    noise_scale = "time"

    def __init__(self, time_scale: float = 999.0) -> None:
        self.time_scale = time_scale

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        return Coefficients(torch.zeros_like(t), -1 / sde.sigma(t), torch.ones_like(t), t * (self.time_scale / sde.T))


class SMLDIndex(NumbersAsTimes):
    """Discrete VE nets (NCSN++ in table 1 of the paper): the input is the index of a noise level, largest sigma first.

    score = net(u, i) / sigma_i with i = round((T - t) (N - 1) / T), the nearest level.

    Args:
        num_scales: N, the number of noise levels the net was trained on.
    """

    noise_scale: str | None = "index"

    def __init__(self, num_scales: int = 1000) -> None:
        self.num_scales = num_scales

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        last = self.num_scales - 1
        index = torch.round((sde.T - t) * (last / sde.T))
        sigma = sde.sigma(sde.T - index * (sde.T / last))
        return Coefficients(torch.zeros_like(t), 1 / sigma, torch.ones_like(t), index)

    def check(self, sde: SDE, data_range: str) -> None:
        if self.num_scales < 2:
            raise UserError(f"SMLDIndex needs num_scales >= 2, got {self.num_scales}")


class DDPMIndex(NumbersAsTimes):
    """Discrete VP nets (DDPM): score = -net(u, i) / sigma_i, i the integer label of time t = (i + 1) T / N.

    sigma_i is that of the chain the net was trained on, not of the SDE; between two times the earlier label is taken.
    Song's sampler passes t (N - 1) with its fraction, up to one index away from the labels of training.

    Args:
        num_scales: N, the number of steps of the chain.
    """

    noise_scale: str | None = "index"

    def __init__(self, num_scales: int = 1000) -> None:
        self.num_scales = num_scales

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        # floor(t (N - 1)) is i at t = (i + 1) / N; the shift is larger than float32's rounding of t (N - 1).
        index = torch.floor(t.to(widest_float(t.device)) * ((self.num_scales - 1) / sde.T) + 1e-4).to(t.dtype)
        _, sigma = sde.chain_marginal(index, self.num_scales)
        return Coefficients(torch.zeros_like(t), -1 / sigma, torch.ones_like(t), index)

    def check(self, sde: SDE, data_range: str) -> None:
        if self.num_scales < 2:
            raise UserError(f"DDPMIndex needs num_scales >= 2, got {self.num_scales}")


class EDM(NumbersAsTimes):
    """Preconditioning of Karras et al. 2022 (table 1), for any alpha: written for x / alpha at level sigma / alpha.

    Args:
        sigma_data: standard deviation of the data in [-1, 1].
    """

    noise_scale: str | None = "log sigma"

    def __init__(self, sigma_data: float = 0.5) -> None:
        self.sigma_data = sigma_data

    def __call__(self, sde: SDE, t: Float[Tensor, "*b"]) -> Coefficients:
        alpha = sde.alpha(t)
        sigma = sde.sigma(t) / alpha
        total = sigma.square() + self.sigma_data**2
        return Coefficients(
            a_skip=-1 / (alpha.square() * total),
            a_out=self.sigma_data / (alpha * sigma * total.sqrt()),
            a_in=1 / (alpha * total.sqrt()),
            c_noise=sigma.log() / 4,
        )

    def check(self, sde: SDE, data_range: str) -> None:
        if self.sigma_data <= 0:
            raise UserError(f"EDM parametrization needs sigma_data > 0, got {self.sigma_data}")
        if data_range != "centered":
            raise UserError("parametrization=edm preconditions data in [-1, 1]: set datamodule.data_range=centered")
