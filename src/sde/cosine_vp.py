"""The cosine schedule (Nichol and Dhariwal 2021, eq. 17) in continuous time: variance preserving, as ``VPSDE``.

With u(t) = (t + s) / (1 + s) pi / 2 and u_0 = u(0),

    alpha(t) = cos u / cos u_0,    sigma(t)^2 = 1 - alpha^2 = sin(u - u_0) sin(u + u_0) / cos^2 u_0,
    f = -beta x / 2,    g^2 = beta(t) = pi / (1 + s) tan u.

At t = 1 no data remain and beta is infinite. The paper clips beta; here the process ends at T < 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .base import SDE


@dataclass(frozen=True)
class CosineVPSDE(SDE):
    """Variance preserving with the cosine schedule; the prior is N(0, I).

    Args:
        T: end of the process, in (0, 1). The prior ignores the mean alpha(T) x_0, 0.8 % of the data at the default.
        s: offset in (0, 1) that keeps beta(0) above zero; 0.008 in the paper.

    Raises:
        UserError: T or s is out of range.
    """

    T: float = 0.995
    s: float = 0.008

    def __post_init__(self) -> None:
        if not 0 < self.T < 1:
            raise UserError(f"CosineVPSDE needs 0 < T < 1, got T={self.T}: at t = 1 its drift is infinite")
        if not 0 < self.s < 1:
            raise UserError(f"CosineVPSDE needs 0 < s < 1, got s={self.s}: the paper uses 0.008")

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.cos(self._angle(t)) / math.cos(self._start)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # As a product: 1 - alpha^2 loses every digit near t = 0.
        passed = t * self._rate
        return torch.sqrt(torch.sin(passed) * torch.sin(passed + 2 * self._start)) / math.cos(self._start)

    def log_alpha_derivative(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return -self._rate * torch.tan(self._angle(t))

    def diffusion_squared(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return 2 * self._rate * torch.tan(self._angle(t))

    def time_of_log_snr(self, log_snr: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        # alpha^2 = sigmoid(2 lambda), sigma^2 = sigmoid(-2 lambda), sin^2 u = sin^2 u_0 + sigma^2 cos^2 u_0.
        cos_start, sin_start = math.cos(self._start), math.sin(self._start)
        sine = torch.sqrt(sin_start**2 + torch.sigmoid(-2 * log_snr) * cos_start**2)
        cosine = torch.sigmoid(2 * log_snr).sqrt() * cos_start
        return (torch.atan2(sine, cosine) - self._start) / self._rate

    @property
    def _rate(self) -> float:
        """du/dt."""
        return math.pi / 2 / (1 + self.s)

    @property
    def _start(self) -> float:
        """u(0)."""
        return self.s * self._rate

    def _angle(self, t: Tensor) -> Tensor:
        return t * self._rate + self._start

    def _prior_sigma(self) -> float:
        return 1.0
