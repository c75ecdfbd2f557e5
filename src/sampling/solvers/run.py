"""The state of one run of a sampler: inputs and memory of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...noise import NoiseSource
from ...sde import tweedie
from ...sde.score_model import Model
from ..output import Control
from .predictors import Draw
from .times import TimeTable


class SolverRun:
    """One run of a sampler, or the part of it around one step: model, times and memory.

    Args:
        model: score and SDE.
        table: the times and their coefficients.
        noise: source of the random numbers.
        cond: named tensors for the net.
        control: a constraint on the samples.
        data, states: the memory so far.
        first: index of the table's first time in the whole run; an int or an int64 tensor ().
        total: number of times of the whole run; None for that of the table.

    Attributes:
        times, ends, alpha, sigma, log_snr: (N,) each, as in the table.
        data: data predictions (B, *d) that the sampler keeps, by the index of their time.
        states: states (B, *d) that the sampler keeps, by the index of their time.
        nfe: evaluations of the score so far.
    """

    def __init__(
        self,
        model: Model,
        table: TimeTable,
        noise: NoiseSource,
        cond: Mapping[str, Tensor] | None = None,
        control: Control | None = None,
        data: Mapping[int, Tensor] | None = None,
        states: Mapping[int, Tensor] | None = None,
        first: int | Tensor = 0,
        total: int | None = None,
    ) -> None:
        self.sde = model.sde
        self.times, self.ends, self.alpha, self.sigma, self.log_snr = table
        self.total = len(table.times) if total is None else total
        self.data = dict(data or {})
        self.states = dict(states or {})
        self.nfe = 0
        self._model = model
        self._noise = noise
        self._cond = cond
        self._control = control
        self._first = first
        self._table = table
        self._on_device: tuple[TimeTable, Tensor] | None = None

    def score(
        self, x: Float[Tensor, "b *d"], t: Float[Tensor, ""], until: Float[Tensor, ""] | None = None
    ) -> Float[Tensor, "b *d"]:
        """The score at x (B, *d) and t (), counted; ``until`` is the end of the step, for models that can be told."""
        self.nfe += 1
        return self._model(x, t, self._cond if until is None else {**(self._cond or {}), "until": until})

    def denoise(self, x: Float[Tensor, "b *d"], t: Float[Tensor, ""]) -> Float[Tensor, "b *d"]:
        """The data prediction E[x_0 | x_t = x], (B, *d)."""
        return tweedie(self.sde, x, t, self.score(x, t))

    def predict_data(self, x: Float[Tensor, "b *d"], i: int, keep: int) -> Float[Tensor, "b *d"]:
        """Return the data prediction at the i-th time, and keep it together with the ``keep - 1`` before it."""
        self.data[i] = prediction = self.denoise(x, self.times[i])
        self.data.pop(i - keep, None)
        return prediction

    def draw(self, purpose: str, i: int, x: Float[Tensor, "b *d"], part: int = 0, parts: int = 1) -> Draw:
        """Return a function that draws standard normal noise (B, *d) for one part of the step at the i-th time."""
        return partial(self._noise, purpose, (self._first + i) * parts + part, x)

    def constrain(
        self,
        x: Float[Tensor, "b *d"],
        x_mean: Float[Tensor, "b *d"],
        t: Float[Tensor, ""],
        purpose: str,
        i: int,
        part: int = 0,
        parts: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Apply the control to state and mean at time t."""
        if self._control is None:
            return x, x_mean
        return self._control(x, x_mean, t, self.draw(f"control/{purpose}", i, x, part, parts))

    def part(self, begin: int, end: int, device: torch.device) -> dict[str, Any]:
        """Return the arguments of the run between two times; everything that differs between steps is on ``device``."""
        if self._on_device is None:
            self._on_device = self._table.to(device), torch.arange(self.total, device=device)
        table, places = self._on_device
        return {
            "model": self._model,
            "table": table.part(begin, end),
            "noise": self._noise,
            "cond": self._cond,
            "control": self._control,
            "data": {j - begin: value for j, value in self.data.items()},
            "states": {j - begin: value for j, value in self.states.items()},
            "first": places[begin],
            "total": self.total,
        }
