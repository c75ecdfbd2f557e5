"""Many samples, each a pure function of (seed, index).

The starting point and every draw of noise of sample i are addressed by (seed, i), so that it does not matter in which
batch, order or process, or after how many interruptions, it is made. Nothing here knows files or devices' numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..noise import AddressedNoise
from ..sde.score_model import Model
from .output import Callback, Control, Sampler, Step
from .starts import PriorStart, Start
from .trajectory import Trajectory

FAR = 100.0
"""Data lie within a few units: what is this far out is no good, but a net that has learnt little makes such."""

DIVERGED = 1e8
"""No net that has learnt anything gets here. Steps of Langevin dynamics grow where the score is small: after a single
optimiser step samples already reach 1e4 only."""

Condition = Callable[[Tensor], Mapping[str, Tensor] | None]
"""condition(index (B,) int64) -> named tensors (B, ...) for the net, on the device of ``index``, or None."""

Constraint = Callable[[Tensor], Control | None]
"""constraint(index (B,) int64) -> the control of these samples, or None."""


@dataclass(frozen=True)
class GeneratedBatch:
    """Samples with their addresses.

    Attributes:
        index: (B,) int64, on the CPU.
        samples: (B, *d) float, in the range of the data, not clipped, on the device of the net.
        nfe: (B,) int64, evaluations of the net for each, on the CPU.
        reach: (B,) float, on the CPU, the largest magnitude in each.
        valid: (B,) bool, on the CPU: finite and within ``DIVERGED``. The others are no samples.
        trajectory: (F, B, *d) noise-free states on the way, on the CPU, or None.
    """

    index: Tensor
    samples: Tensor
    nfe: Tensor
    reach: Tensor
    valid: Tensor
    trajectory: Tensor | None = None


def shard(indices: Sequence[int], rank: int, world_size: int) -> Sequence[int]:
    """The part of ``indices`` that process ``rank`` of ``world_size`` makes: every index once, none added."""
    return indices[rank::world_size]


def generate(
    model: Model,
    sampler: Sampler,
    shape: Sequence[int],
    indices: Sequence[int],
    *,
    seed: int,
    batch_size: int,
    condition: Condition | None = None,
    constraint: Constraint | None = None,
    start: Start | None = None,
    device: torch.device | str = "cpu",
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    frames: int = 0,
    on_step: Callback | None = None,
) -> Iterator[GeneratedBatch]:
    """Samples taken from where they start to the data, batch by batch, in the order of ``indices``.

    Args:
        model: score and SDE, on ``device`` and in evaluation mode.
        sampler: how.
        shape: (*d) of one sample.
        indices: addresses of the samples to make.
        seed: of the run.
        batch_size: samples at a time; it changes nothing but speed and memory.
        condition: what the net is told about each sample.
        constraint: what each sample is held to.
        start: where samples start; by default at a sample of the prior.
        device: where the net is.
        autocast: entered around each batch, to run the net in another precision.
        frames: states of each trajectory to keep, evenly spaced in steps.
        on_step: called after every step of the sampler.

    Raises:
        UserError: the batch size is not positive, or the batch does not fit into memory.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: give at least 1")
    start = start or PriorStart(seed)
    for first in range(0, len(indices), batch_size):
        index = torch.tensor(indices[first : first + batch_size], dtype=torch.int64, device=device)
        address = start.address(index)
        like = torch.empty(len(index), *shape, device=device)
        recorder = _Recorder(frames, on_step)
        try:
            with torch.no_grad(), autocast():
                cond = None if condition is None else condition(address)
                control = None if constraint is None else constraint(address)
                x_init = start(model, index, like, cond)
                noise = AddressedNoise(seed, address)
                output = sampler(model, x_init, noise, cond=cond, control=control, callback=recorder)
        except torch.OutOfMemoryError as error:
            raise UserError(f"a batch of {len(index)} does not fit into memory: lower batch_size") from error
        # NaN prevails in a maximum, and a comparison with it is false.
        reach = output.samples.flatten(1).abs().amax(dim=1).cpu()
        valid = reach <= DIVERGED
        yield GeneratedBatch(index.cpu(), output.samples, output.nfe.cpu(), reach, valid, recorder.trajectory())


class _Recorder:
    """Keeps frames of a trajectory and passes every step on."""

    def __init__(self, frames: int, on_step: Callback | None) -> None:
        self._frames = frames
        self._on_step = on_step
        self._kept: Trajectory | None = None

    def __call__(self, step: Step) -> None:
        if self._kept is None:
            self._kept = Trajectory(min(self._frames, step.total), step.total)
        self._kept.record(step.index - 1, step.x_mean)
        if self._on_step is not None:
            self._on_step(step)

    def trajectory(self) -> Tensor | None:
        return None if self._kept is None else self._kept.stacked()
