"""A net that predicts the average velocity of the probability-flow ODE over an interval (MeanFlow, Geng et al. 2025).

    u(x_t, r, t) = (x_t - x_r) / (t - r)        along the ODE's path through x_t, r <= t;    u(x, t, t) = dx_t/dt.

The net is told c_noise(t) and, as ``cond["interval"]``, c_noise(t) - c_noise(r). What samplers and guidance see is a
score: with ``cond["until"]`` = r the one whose ODE has the velocity u(x, r, t), without it that of p_t.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from .base import SDE
from .parametrization import Parametrization
from .score_model import Condition, ScoreModel


@runtime_checkable
class AverageVelocity(Protocol):
    """An average velocity with its SDE."""

    @property
    def sde(self) -> SDE:
        """The forward process."""
        ...

    def average_velocity(self, x: Tensor, r: Tensor, t: Tensor, cond: Condition = None, /) -> Tensor:
        """u (B, *d) from r to t at x (B, *d); r and t (B,) or both ()."""
        ...


class _IntervalNet(Protocol):
    def enable_interval(self) -> None: ...


class AverageVelocityModel(ScoreModel):
    """A net that receives both ends of an interval and returns the average velocity.

    Args:
        net: raw net, whose ``enable_interval`` adds an embedding of the interval.
        sde: the forward process.
        parametrization: one whose raw output is the velocity.
        data_range: ``unit`` or ``centered``.

    Raises:
        UserError: the net cannot embed an interval.
    """

    def __init__(self, net: nn.Module, sde: SDE, parametrization: Parametrization, data_range: str = "unit") -> None:
        super().__init__(net, sde, parametrization, data_range)
        cast(_IntervalNet, net).enable_interval()

    def check(self) -> None:
        """Raise UserError if the net does not predict the velocity, or its embedding cannot take the noise level."""
        super().check()
        t = torch.tensor([0.5 * self.sde.T], dtype=torch.float64, device="cpu")
        a_skip, a_out, _, _ = self.parametrization(self.sde, t)
        pull = self.sde.diffusion_squared(t) / 2
        skip, out = self.sde.log_alpha_derivative(t) - pull * a_skip, -pull * a_out
        if abs(float(skip)) > 1e-6 or abs(float(out) - 1) > 1e-6:
            raise UserError(
                f"model=average_velocity needs a net that predicts the velocity, but that of "
                f"{type(self.parametrization).__name__} is {float(skip):.3g} x + {float(out):.3g} net: set "
                "parametrization=velocity"
            )

    def forward(
        self, x: Float[Tensor, "b *d"], t: Tensor, cond: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b *d"]:
        """The score at x (B, *d) and t, () or (B,); over the interval down to ``cond["until"]`` where that is given."""
        return super().forward(x, t, self._with_interval(t, cond))

    def average_velocity(
        self, x: Float[Tensor, "b *d"], r: Tensor, t: Tensor, cond: Condition = None
    ) -> Float[Tensor, "b *d"]:
        """u(x, r, t), the average velocity of the ODE's path through x from time t down to r.

        Args:
            x: (B, *d), state at t in the range of the data plus noise.
            r: () or (B,), in [0, t].
            t: like r, in (0, T].
            cond: named tensors for the net.

        Returns:
            (B, *d), in units of the data per unit of time.
        """
        x, t = self._wide(x, t)
        coefficients = self.parametrization(self.sde, t)
        return self._output(
            x, coefficients.a_in, coefficients.c_noise, self._with_interval(t, {**(cond or {}), "until": r})
        )

    def _with_interval(self, t: Tensor, cond: Condition) -> Condition:
        """``cond`` with the interval, in units of c_noise, in place of the time at which it ends."""
        if cond is None or "until" not in cond:
            return cond
        others = {name: value for name, value in cond.items() if name != "until"}
        levels = (self.parametrization(self.sde, time).c_noise for time in (t, cond["until"].to(t)))
        begin, end = levels
        return {**others, "interval": begin - end}
