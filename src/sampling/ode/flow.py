"""The probability-flow ODE (Song et al. 2021, eq. 13), solved with adaptive steps.

    dx/dt = f(x, t) - g(t)^2 s(x, t) / 2

has the marginals p_t of the SDE and no noise. From T to eps it maps latents to data, from eps to T data to latents; the
two maps are inverse up to the tolerance. Each sample has its own steps, so that neither the sample nor its NFE depends
on the other samples of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...errors import UserError
from ...noise import NoiseSource
from ...sde import SDE, ReverseSDE, tweedie
from ...sde.score_model import Condition, Model
from ..output import Callback, Control, SampleOutput, Sampler, SamplerStep, count


class ProbabilityFlowODE(Sampler):
    """Dormand and Prince's method on the probability-flow ODE.

    Args:
        rtol: relative error allowed in one step, in the root mean square over a sample.
        atol: absolute error allowed in one step, in units of the data.
        eps: time of the data, in (0, T); the paper uses 1e-5 for VE and 1e-3 for VP and sub-VP.
        denoise: finish with the posterior mean at eps (one evaluation). Without it the map to latents is invertible.
        max_steps: steps after which a sample counts as failed.

    Raises:
        UserError: a setting out of range.
    """

    invertible = True

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        eps: float = 1e-5,
        denoise: bool = True,
        max_steps: int = 10_000,
    ) -> None:
        from .adaptive import Tolerance  # imported here: torchode takes a second

        self.tolerance = Tolerance(rtol, atol, max_steps)
        self.eps = eps
        self.denoise = denoise

    @property
    def convergence_order(self) -> None:
        """None: steps are adaptive, and the tolerance sets the error."""

    def check(self, sde: SDE) -> None:
        check_eps(sde, self.eps)

    def __call__(
        self,
        model: Model,
        x_init: Float[Tensor, "b *d"],
        noise: NoiseSource | None = None,
        *,
        cond: Condition = None,
        control: Control | None = None,
        callback: Callback | None = None,
    ) -> SampleOutput:
        """Map latents x_init (B, *d) at T to samples; ``noise`` is unused, and the callback is called once, at the end.

        Raises:
            UserError: a control is given, or a solve fails.
        """
        if control is not None:
            raise UserError("sampler=ode does not support a control: use sampler=pc")
        sde = model.sde
        x, calls = self._integrate(model, x_init, cond, sde.T, check_eps(sde, self.eps))
        t = torch.tensor(self.eps, dtype=torch.float64)
        x_mean = x
        if self.denoise:
            with torch.no_grad():
                x_mean = tweedie(sde, x, t, model(x, t, cond))
            calls = calls + 1
        if callback is not None:
            callback(SamplerStep(1, 1, t, x, x_mean))
        return SampleOutput(x_mean, count(x, calls, model))

    def encode(
        self, model: Model, x: Float[Tensor, "b *d"], cond: Condition = None
    ) -> tuple[Float[Tensor, "b *d"], Int64[Tensor, " b"]]:
        """Return latents (B, *d) at T of data x (B, *d), and evaluations of the net (B,).

        Raises:
            UserError: a solve fails.
        """
        z, calls = self._integrate(model, x, cond, check_eps(model.sde, self.eps), model.sde.T)
        return z, count(x, calls, model)

    def _integrate(
        self, model: Model, x: Tensor, cond: Condition, t_start: float, t_end: float
    ) -> tuple[Tensor, Tensor]:
        drift = probability_flow(model, cond)

        def field(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            return drift(y.reshape(-1, *x.shape[1:]), t, rows).flatten(1)

        y, calls = self.tolerance.solve(field, x.flatten(1), t_start, t_end)
        return y.reshape(x.shape), calls


def probability_flow(model: Model, cond: Condition) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The drift of the ODE, drift(x (R, *d), t (R,), rows (R,)) -> (R, *d), for the rows of the batch given.

    Args:
        model: score and SDE.
        cond: named tensors for the net, (B, ...), from which the rows are taken.
    """

    def drift(x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        chosen = None if cond is None else {name: value[rows] for name, value in cond.items()}
        flow = ReverseSDE(model.sde, lambda x, t: model(x, t, chosen), probability_flow=True)
        # Times are float64; the state stays in its own precision.
        return flow.drift(x, t).to(x.dtype)

    return drift


def check_eps(sde: SDE, eps: float) -> float:
    """Return ``eps``; raise UserError if it is not a time of ``sde``."""
    if not 0 < eps < sde.T:
        raise UserError(f"eps={eps} must lie between 0 and the SDE's end T={sde.T}")
    return eps
