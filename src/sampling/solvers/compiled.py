"""A whole step of a sampler as one compiled graph: evaluations of the net, arithmetic and noise.

A step reads its times by index. To use one graph for all steps, the step gets only the times around its own, as many as
its sampler needs, as tensors. Everything that differs between steps is then data. Only the first and last steps, where
multistep methods have fewer previous times, have graphs of their own. On a GPU the graph is a CUDA graph, which removes
the cost of launching kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...runtime.compilation import many_graphs
from .run import SolverRun

StepFunction = Callable[[SolverRun, Tensor, int], tuple[Tensor, Tensor]]


class CompiledStep:
    """``step`` of a sampler, compiled at its first call.

    Args:
        step: state and mean after the step from state x at the i-th time of a run.
        reach: number of times before and after the i-th that the step reads.
    """

    def __init__(self, step: StepFunction, reach: int) -> None:
        self._step = step
        self._reach = reach
        self._graphs: dict[str, Callable[..., Any]] = {}

    def __call__(self, run: SolverRun, x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Return state and mean after the step; the memory of ``run`` is updated as without compilation."""
        begin = max(i - self._reach, 0)
        part = run.part(begin, min(i + 1 + max(self._reach, 1), run.total), x.device)
        with many_graphs():
            x, x_mean, data, states, nfe = self._graph(x.device.type)(part, x, i - begin)
        if x.is_cuda:
            # The next replay of a CUDA graph writes to the same memory.
            x, x_mean = x.clone(), x_mean.clone()
            data, states = ({j: value.clone() for j, value in kept.items()} for kept in (data, states))
        run.nfe += nfe
        run.data, run.states = ({begin + j: value for j, value in kept.items()} for kept in (data, states))
        return x, x_mean

    def _graph(self, device: str) -> Callable[..., Any]:
        if device not in self._graphs:
            mode = "reduce-overhead" if device == "cuda" else "default"
            self._graphs[device] = torch.compile(self._traced, mode=mode, dynamic=False)
        return self._graphs[device]

    def _traced(
        self, part: Mapping[str, Any], x: Tensor, i: int
    ) -> tuple[Tensor, Tensor, dict[int, Tensor], dict[int, Tensor], int]:
        run = SolverRun(**part)
        x, x_mean = self._step(run, x, i)
        return x, x_mean, run.data, run.states, run.nfe
