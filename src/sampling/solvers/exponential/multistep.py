"""Exponential integration of the probability-flow ODE in lambda = ln(alpha / sigma).

The ODE is linear in x except for the data prediction D, so from time t to s, with h = lambda_s - lambda_t (Lu et al.
2022b, "DPM-Solver++", proposition 4.1),

    x_s = (sigma_s / sigma_t) x_t + alpha_s * integral_0^h e^(tau - h) D(lambda_t + tau) dtau.

Multistep methods replace D by the polynomial through its known values; the integral is then a weighted sum.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ....errors import UserError
from ..loop import GridSampler
from ..run import SolverRun
from ..schedule import TimeGrid


@functools.cache
def _rule_on(device: torch.device) -> Tensor:
    # An inference tensor could not be used outside of inference mode.
    with torch.inference_mode(False):
        return torch.from_numpy(np.stack(np.polynomial.legendre.leggauss(32))).to(device)


# Of compiled steps it is a constant where they run: a tensor on the CPU would keep them from being CUDA graphs.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch has no type for it
def _rule(device: torch.device) -> Tensor:
    """Points and weights (2, 32) of Gauss and Legendre's rule on [-1, 1].

    For the integrals below it is exact to rounding; their closed forms cancel at small h.
    """
    return _rule_on(device)


def weights(nodes: Float64[Tensor, " k"], h: Float64[Tensor, ""]) -> Float64[Tensor, " k"]:
    """Return the weights w_j of sum_j w_j D_j, which replaces the integral of e^(tau - h) D(tau) over [0, h].

    With three or more nodes the interpolating polynomial is integrated exactly. With two, the integral of
    tau e^(tau - h) is replaced by h/2 (1 - e^-h), as in DPM-Solver++(2M) and UniPC (rho = 1/2); the order is the same.

    Args:
        nodes: (k,), positions tau_j relative to lambda_t of the known values of D; the first is 0.
        h: (), length of the step, > 0.
    """
    total = -torch.expm1(-h)
    if len(nodes) == 1:
        return total[None]
    if len(nodes) == 2:
        second = total * h / (2 * nodes[1])
        return torch.stack([total - second, second])
    points, factors = _rule(h.device)
    tau = h / 2 * (1 + points)
    measure = h / 2 * factors * torch.exp(tau - h)
    basis = []
    for j, node in enumerate(nodes):
        others = torch.cat([nodes[:j], nodes[j + 1 :]])
        basis.append(((tau[:, None] - others) / (node - others)).prod(1))
    integrals: Tensor = torch.stack(basis) @ measure
    return integrals


def integrate(run: SolverRun, x: Float[Tensor, "b *d"], i: int, nodes: Sequence[int]) -> Float[Tensor, "b *d"]:
    """Return the state at the next time, from x at the i-th.

    Args:
        run: the run, with the data predictions at ``nodes``.
        x: (B, *d), state at ``run.times[i]``.
        i: index of the time.
        nodes: indices of the times whose data predictions are interpolated; the first is i.
    """
    moved = run.sigma[i + 1] / run.sigma[i] * x
    places = torch.stack([run.log_snr[j] for j in nodes])
    w = weights(places - run.log_snr[i], run.log_snr[i + 1] - run.log_snr[i])
    for j, coefficient in zip(nodes, run.alpha[i + 1] * w, strict=True):
        moved = moved + coefficient * run.data[j]
    return moved


class MultistepSampler(GridSampler):
    """A sampler that reuses earlier data predictions; N times cost N evaluations.

    Args:
        grid: times from T to eps; uniform in log-SNR in the papers.
        order: one of the class's ``orders``.
        settings: ``denoise``, ``trajectory_frames`` and ``compile`` of GridSampler.
    """

    orders: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, grid: TimeGrid, order: int = 2, **settings: Any) -> None:
        self.reach = order
        super().__init__(grid, **settings)
        if order not in self.orders:
            raise UserError(f"sampler.order is {order}: {type(self).__name__} has {', '.join(map(str, self.orders))}")
        self.order = order

    @property
    def convergence_order(self) -> int:
        return self.order

    def order_at(self, run: SolverRun, i: int) -> int:
        """Return the order of the step from the i-th time.

        The first steps have fewer earlier predictions. The order of the last steps is reduced for stability at few
        steps: the final denoising is the first-order step to sigma = 0, the step before it is of order 2 at most.
        """
        return min(self.order, i + 1, len(run.times) - i)
