"""Ordinary differential equations with one adaptive step size per sample: an adapter for torchode.

Dormand and Prince's method of order 5(4) with an integral controller (Hairer, Norsett and Wanner 1993, sec. II.4).
Error norms are taken over one sample, so that neither a solution nor its number of steps depends on the batch.
Evaluations of the field: two to find the first step, then six per step, since the seventh stage is the first of the
next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchode
from jaxtyping import Float, Int64
from torch import Tensor

from ...errors import UserError
from ...runtime.precision import widest_float

VectorField = Callable[[Tensor, Tensor, Tensor], Tensor]
"""field(t (R,) float64, y (R, F), rows (R,) int64) -> dy/dt (R, F), for the rows of the batch that still run."""

Norm = Callable[[Tensor], Tensor]
"""Norm of the errors of each sample, (B, F) -> (B,)."""


def root_mean_square(errors: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """The norm over all features of a sample."""
    size: Tensor = errors.norm(dim=1)
    return size / math.sqrt(errors.shape[1])


@dataclass(frozen=True)
class Tolerance:
    """Tolerances of a solve.

    Args:
        rtol: error allowed in one step, relative to the state.
        atol: error allowed in one step, absolute.
        max_steps: steps after which a solve counts as failed, for each sample.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        if self.rtol <= 0 or self.atol <= 0:
            raise UserError(f"rtol={self.rtol} and atol={self.atol} must be positive (1e-5 by default)")
        if self.max_steps < 1:
            raise UserError(f"max_steps={self.max_steps} must be at least 1")

    def solve(
        self,
        field: VectorField,
        y: Float[Tensor, "b f"],
        t_start: float,
        t_end: float,
        norm: Norm = root_mean_square,
    ) -> tuple[Float[Tensor, "b f"], Int64[Tensor, " b"]]:
        """Return the state at ``t_end`` (B, F) and the evaluations of the field (B,), without gradients.

        Autocast around the call applies only to the field: stages are combined in the precision of y.

        Args:
            field: right-hand side; evaluated for unfinished rows only.
            y: (B, F), state at ``t_start``.
            t_start: start of the integration.
            t_end: end of the integration, before or after ``t_start``.
            norm: norm of the errors of a sample, to be compared with 1.

        Raises:
            UserError: max_steps is reached or a state is not finite; the message names the sample and the time.
        """
        if len(y) == 0:
            return y, torch.zeros(0, dtype=torch.int64, device=y.device)
        times = [torch.full((len(y),), t, dtype=widest_float(y.device), device=y.device) for t in (t_start, t_end)]
        kind = y.device.type
        rows = _RunningRows(_with_autocast_of_now(field, kind), len(y), y.device)
        controller = torchode.IntegralController(atol=self.atol, rtol=self.rtol, norm=norm)
        # torchode counts a sample that ends with exactly its last step as failed.
        solver = torchode.AutoDiffAdjoint(_Dopri5(rows), controller, max_steps=self.max_steps + 1)
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            solution = solver.solve(torchode.InitialValueProblem(y, *times), torchode.ODETerm(rows, with_stats=False))
        self._check(solution.status, rows)
        return solution.ys[:, 0], 2 + 6 * solution.stats["n_steps"]

    def _check(self, status: Tensor, rows: _RunningRows) -> None:
        failed = status.nonzero().flatten().tolist()
        if not failed:
            return
        code = torchode.Status(int(status[failed[0]]))
        reason = "its state is not finite"
        if code == torchode.Status.REACHED_MAX_STEPS:
            reason = f"{self.max_steps} steps were not enough; raise max_steps, rtol or atol"
        raise UserError(
            f"the ODE of sample {failed[0]} of the batch failed at t={float(rows.t[failed[0]]):.6g}: {reason}"
        )


def _with_autocast_of_now(field: VectorField, kind: str) -> VectorField:
    """Wrap ``field`` so that it runs under the autocast that is active now for devices of this kind."""
    autocast = torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))

    def evaluate(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        with autocast:
            return field(t, y, rows)

    return evaluate


class _RunningRows:
    """A field that is evaluated only for unfinished rows; the derivative of the others is zero."""

    def __init__(self, field: VectorField, batch: int, device: torch.device) -> None:
        self._field = field
        self._batch = batch
        self._rows = torch.arange(batch, device=device)
        self.t = torch.zeros(batch)

    def begin_step(self, running: Tensor, t: Tensor) -> None:
        self._rows = running.nonzero().flatten()
        self.t = t

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        if len(self._rows) == self._batch:
            return self._field(t, y, self._rows)
        out = torch.zeros_like(y)
        out[self._rows] = self._field(t[self._rows], y[self._rows], self._rows)
        return out


class _Dopri5(torchode.Dopri5):  # type: ignore[misc] # torchode has no types
    """Notify the field of each step, and return the final state itself instead of its interpolation."""

    def __init__(self, rows: _RunningRows) -> None:
        super().__init__()
        self._rows_of = rows

    def step(self, term: Any, running: Tensor, y0: Tensor, t0: Tensor, dt: Tensor, state: Any, **options: Any) -> Any:
        self._rows_of.begin_step(running, t0)
        return super().step(term, running, y0, t0, dt, state, **options)

    def build_interpolation(self, data: Any) -> Any:
        # Steps are cut at t_end, and finished samples take steps of length zero: all states are at t_end.
        return _LastState(data.y1)


class _LastState:
    def __init__(self, y: Tensor) -> None:
        self._y = y

    def evaluate(self, t: Tensor, idx: Tensor) -> Tensor:
        return self._y
