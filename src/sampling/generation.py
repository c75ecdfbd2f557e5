"""The one pipeline from a model to samples, each a pure function of (seed, index).

The starting point and every random number of sample i are addressed by (seed, i). Batch size, order, number of
processes and interruptions therefore change no sample. A ``Generation`` yields batches; sinks store, score or draw
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..distributed import failing_together, rank, world_size
from ..errors import UserError
from ..noise import AddressedNoise
from ..progress import Progress
from ..runtime import signals
from ..sde.score_model import Model
from ..stored_values import BYTES, StoredValues
from .batch import GeneratedBatch
from .output import Callback, Control, Sampler, SamplerStep
from .starts import PriorStart, Start
from .statistics import Statistics
from .trajectory import Trajectory

DIVERGED = 1e8
"""Samples beyond this magnitude diverged. After a single optimizer step samples reach at most 1e4, because steps of
Langevin dynamics are long if the score is small."""

Conditioning = Callable[[Tensor], Mapping[str, Tensor] | None]
"""conditioning(index (B,) int64) -> named tensors (B, ...) for the net, on the device of ``index``, or None."""

Constraining = Callable[[Tensor], Control | None]
"""constraint(index (B,) int64) -> the control of these samples, or None."""


@runtime_checkable
class Sink(Protocol):
    """A consumer of the samples of a ``Generation``: a store, a metric suite, a picture."""

    def add(self, batch: GeneratedBatch) -> None:
        """Add a batch of this process; must not wait for other processes."""
        ...

    def finish(self, statistics: Statistics) -> None:
        """Called once on every process when all batches of all processes have been added."""
        ...


def shard(indices: Sequence[int], rank: int, world_size: int) -> Sequence[int]:
    """The share of ``indices`` of process ``rank`` of ``world_size``; the shares partition ``indices``."""
    return indices[rank::world_size]


@dataclass(frozen=True)
class Generation:
    """All settings that determine samples, and the device that computes them.

    Args:
        model: score and SDE, on ``device`` and in evaluation mode.
        sampler: from the start to the data.
        shape: (*d) of one sample; three numbers are an image (C, H, W).
        seed: seed of starting points and noise.
        batch_size: samples per batch; changes speed and memory only.
        data_range: ``unit`` or ``centered``.
        quantize: how images are converted to bytes, ``round`` or ``truncate``.
        conditioning: the conditions of each sample for the net.
        constraint: the control of each sample.
        start: where samples start; None for a sample of the prior.
        device: where the net is.
        autocast: entered around each batch, to run the net in another precision.
        values: depth and range of the data.

    Raises:
        UserError: the batch size is not positive.
    """

    model: Model
    sampler: Sampler
    shape: tuple[int, ...]
    seed: int
    batch_size: int
    data_range: str = "unit"
    quantize: str = "round"
    conditioning: Conditioning | None = None
    constraint: Constraining | None = None
    start: Start | None = None
    device: torch.device | str = "cpu"
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    values: StoredValues = BYTES

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size}: give at least 1")

    @property
    def is_image(self) -> bool:
        """Whether samples are images, which are stored as bytes."""
        return len(self.shape) == 3

    def run(
        self,
        indices: Sequence[int],
        sinks: Sequence[Sink],
        *,
        frames: int = 0,
        equal_calls: bool = False,
        task: str = "sampling",
        terminal: bool | None = None,
        on_step: Callback | None = None,
    ) -> Statistics:
        """Generate this process's share of the samples ``indices`` and pass every batch to every sink.

        All processes call it. If one fails, all of them fail after their own shares.

        Args:
            indices: addresses, the same on every process.
            sinks: the consumers of the samples.
            frames: states of each trajectory to keep, evenly spaced in steps.
            equal_calls: make every process call the net equally often, as sharded parameters require; surplus samples
                are dropped.
            task: name of the work in the progress report.
            terminal: whether to draw a progress bar; None detects a terminal.
            on_step: called after every step of the sampler.

        Returns:
            Counts over the samples of all processes.

        Raises:
            UserError: a batch does not fit into memory, or a sink raises it.
            signals.Stopped: a signal was received; raised on every process within one evaluation of the net.
        """
        spare = -len(indices) % world_size() if equal_calls else 0
        padded = [*indices, *(indices[-1] + 1 + i for i in range(spare))]
        mine, wanted = shard(padded, rank(), world_size()), len(shard(indices, rank(), world_size()))
        made = Statistics()
        # The other processes progress at the same rate.
        scale = len(indices) / max(len(mine), 1)
        report = Progress(task, len(indices), enabled=rank() == 0, terminal=terminal)
        with failing_together(), signals.stop_immediately(), report as progress:
            for batch, seconds in self._timed(mine, frames, progress, scale, on_step):
                kept = batch.first(wanted - made.count)
                made.add(kept, seconds)
                for sink in sinks:
                    sink.add(kept)
                progress.add(scale * len(batch.index))
        total = made.gathered()
        for sink in sinks:
            sink.finish(total)
        return total

    def batches(
        self, indices: Sequence[int], *, frames: int = 0, on_step: Callback | None = None
    ) -> Iterator[GeneratedBatch]:
        """Generate samples batch by batch, in the order of ``indices``, in this process only.

        Args:
            indices: addresses of the samples.
            frames: states of each trajectory to keep, evenly spaced in steps.
            on_step: called after every step of the sampler.

        Raises:
            UserError: a batch does not fit into memory.
        """
        start = self.start or PriorStart(self.seed)
        for first in range(0, len(indices), self.batch_size):
            index = torch.tensor(indices[first : first + self.batch_size], dtype=torch.int64, device=self.device)
            address = start.address(index)
            like = torch.empty(len(index), *self.shape, device=self.device)
            recorder = _Recorder(frames, on_step)
            try:
                with torch.no_grad(), self.autocast():
                    cond = None if self.conditioning is None else self.conditioning(address)
                    control = None if self.constraint is None else self.constraint(address)
                    x_init = start(self.model, index, like, cond)
                    noise = AddressedNoise(self.seed, address)
                    output = self.sampler(self.model, x_init, noise, cond=cond, control=control, callback=recorder)
            except torch.OutOfMemoryError as error:
                raise UserError(f"a batch of {len(index)} does not fit into memory: lower batch_size") from error
            # A maximum propagates NaN, and a comparison with NaN is false.
            reach = output.samples.flatten(1).abs().amax(dim=1).cpu()
            trajectory = recorder.trajectory()
            stored = self._stored(output.samples)
            yield GeneratedBatch(
                index.cpu(),
                output.samples,
                stored,
                self._shown(stored),
                output.nfe.cpu(),
                reach,
                reach <= DIVERGED,
                None if trajectory is None else self._shown(self._stored(trajectory)),
            )

    def warm_up(self, indices: Sequence[int]) -> None:
        """Call the net once on the first batch of ``indices``, because a first call is slow and must not be part of
        timings.
        """
        chosen = indices[: self.batch_size]
        if len(chosen) == 0:
            return
        index = torch.tensor(chosen, device=self.device)
        like = torch.empty(len(index), *self.shape, device=self.device)
        t = torch.tensor(self.model.sde.T, dtype=torch.float64)
        with torch.no_grad(), self.autocast():
            x = self.model.sde.prior_sample(AddressedNoise(self.seed, index)("prior", 0, like))
            self.model(x, t, None if self.conditioning is None else self.conditioning(index))
        if index.is_cuda:
            torch.cuda.synchronize()

    def _timed(
        self, indices: Sequence[int], frames: int, progress: Progress, scale: float, on_step: Callback | None
    ) -> Iterator[tuple[GeneratedBatch, float]]:
        def after(step: SamplerStep) -> None:
            progress.set_fraction(scale * len(step.x) * step.index / step.total)
            if on_step is not None:
                on_step(step)

        batches = self.batches(indices, frames=frames, on_step=after)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            # Parts of a batch are on the CPU, so the device has finished.
            yield batch, time.perf_counter() - start

    def _stored(self, samples: Tensor) -> Tensor:
        # Points of a distribution are not bytes, and no other format is declared.
        if not self.is_image and self.values == BYTES:
            return samples
        return self.values.from_model(samples, self.data_range, self.quantize)

    def _shown(self, stored: Tensor) -> Tensor:
        return self.values.to_bytes(stored) if self.is_image else stored


class _Recorder:
    """Keep frames of a trajectory and forward every step."""

    def __init__(self, frames: int, on_step: Callback | None) -> None:
        self._frames = frames
        self._on_step = on_step
        self._kept: Trajectory | None = None

    def __call__(self, step: SamplerStep) -> None:
        if self._kept is None:
            self._kept = Trajectory(min(self._frames, step.total), step.total)
        self._kept.record(step.index - 1, step.x_mean)
        if self._on_step is not None:
            self._on_step(step)

    def trajectory(self) -> Tensor | None:
        return None if self._kept is None else self._kept.stacked()
