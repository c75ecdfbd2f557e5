"""Which samples form which batch: a pure function of (seed, optimizer step, rank).

With G the global batch size, A micro-batches of gradient accumulation and R processes, one micro-batch has m = G / (A
R) samples. Step k of epoch e trains on ``permutation[k G : (k + 1) G]`` of that epoch; micro-batch a of rank r holds
its positions ``a R m + r m + [0, m)``. Interruptions change nothing, and the union over ranks and micro-batches does
not depend on R and A.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from ...errors import UserError
from ...noise import permutation


@dataclass(frozen=True)
class BatchAddress:
    """Address of one micro-batch.

    Args:
        index: (m,) int64, sample numbers in the data set.
        position: (m,) int64, positions in the global batch (for evaluation, equal to ``index``).
        step: global optimizer step; None for evaluation.
        epoch: epoch of the data order; None for evaluation.
    """

    index: Tensor
    position: Tensor
    step: int | None = None
    epoch: int | None = None

    def to_batch(self) -> dict[str, Any]:
        """Return the address as the entries ``index``, ``position`` and, in training, ``step`` and ``epoch``."""
        batch: dict[str, Any] = {"index": self.index, "position": self.position}
        if self.step is not None:
            batch |= {"step": self.step, "epoch": self.epoch}
        return batch


# Both samplers know their rank. Lightning keeps a DistributedSampler, whatever the trainer's `use_distributed_sampler`;
# it would wrap any other sampler and shard the data twice.
class AddressedBatchSampler(DistributedSampler[BatchAddress]):
    """Training micro-batches of one process, to the end of the current epoch.

    Args:
        count: samples of the data set.
        global_batch_size: samples of one optimizer step, over all processes and micro-batches.
        seed: seed of the data order.
        world_size: number of processes R.
        rank: number of this process.
        accumulate: micro-batches A of one optimizer step.
        completed_steps: returns the number of finished optimizer steps. It is called for the first micro-batch of an
            iteration, because Lightning builds the iterator before it sets the counters of the epoch.
        shuffle: False keeps the samples of every epoch in order.
        device: device of the addresses; the order of an epoch is copied there once.

    Raises:
        UserError: if the batch does not divide or exceeds the data set.
    """

    def __init__(
        self,
        count: int,
        global_batch_size: int,
        *,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
        accumulate: int = 1,
        completed_steps: Callable[[], int] = int,
        shuffle: bool = True,
        device: torch.device | None = None,
    ) -> None:
        if global_batch_size < 1 or global_batch_size % (accumulate * world_size):
            raise UserError(
                f"global_batch_size={global_batch_size} cannot be divided over {world_size} process(es) times "
                f"{accumulate} accumulated micro-batch(es): choose a multiple of {accumulate * world_size}",
                shared=True,
            )
        if global_batch_size > count:
            raise UserError(
                f"global_batch_size={global_batch_size} exceeds the {count} training samples: choose at most {count}",
                shared=True,
            )
        self.count = count
        self.global_batch_size = global_batch_size
        self.steps_per_epoch = count // global_batch_size
        self.seed = seed
        self.world_size = world_size
        self.rank = rank
        self.accumulate = accumulate
        self.shuffle = shuffle
        self.device = device
        self._completed_steps = completed_steps

    def __len__(self) -> int:
        """Return the number of micro-batches of a whole epoch."""
        return self.steps_per_epoch * self.accumulate

    def __iter__(self) -> Iterator[BatchAddress]:
        epoch, offset = divmod(self._completed_steps(), self.steps_per_epoch)
        order = permutation(self.seed, "data order", epoch, self.count) if self.shuffle else torch.arange(self.count)
        order = order.to(self.device)
        size = self.global_batch_size // (self.accumulate * self.world_size)
        starts = [(a * self.world_size + self.rank) * size for a in range(self.accumulate)]
        positions = [torch.arange(first, first + size, device=self.device) for first in starts]
        for k in range(offset, self.steps_per_epoch):
            for first, position in zip(starts, positions, strict=True):
                begin = k * self.global_batch_size + first
                # Copy: a view would send the whole order to a worker process.
                index = order[begin : begin + size].clone()
                yield BatchAddress(index, position.clone(), epoch * self.steps_per_epoch + k, epoch)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the epoch follows from the optimizer step."""


class ShardSampler(DistributedSampler[BatchAddress]):
    """Evaluation batches of one process: samples ``rank :: world_size``, each exactly once.

    Every process gets the same number of batches, because a wrapped module may communicate in each forward pass. If the
    shards differ in size, the last batches are smaller, or contain two images for a ``batch_size`` of 1.

    Args:
        count: samples of the data set, at least ``world_size``.
        batch_size: samples of one batch on one device.
        world_size: number of processes.
        rank: number of this process.
        device: device of the addresses.
    """

    shuffle = False

    def __init__(
        self, count: int, batch_size: int, *, world_size: int = 1, rank: int = 0, device: torch.device | None = None
    ) -> None:
        if batch_size < 1:
            raise UserError(f"eval_batch_size={batch_size} must be at least 1")
        if 0 < count < world_size:
            raise ValueError(f"{count} samples cannot be divided over {world_size} processes")
        self.batch_size = batch_size
        self.index = torch.arange(rank, count, world_size, device=device)
        largest_shard = math.ceil(count / world_size)
        self.batches = min(math.ceil(largest_shard / batch_size), count // world_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[BatchAddress]:
        total, first = len(self.index), 0
        for i in range(self.batches):
            behind = self.batches - i - 1
            last = min(first + self.batch_size, total - behind) if behind else total
            index = self.index[first:last]
            yield BatchAddress(index, index)
            first = last

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: evaluation has one order."""


class AddressedLoader(DataLoader[dict[str, Any]]):
    """Return a loader whose data set takes whole batch addresses.

    Args:
        dataset: maps a BatchAddress to a batch.
        sampler: yields this process' addresses.
        num_workers: worker processes; 0 gathers in the main process.
        pin_memory: put batches into page-locked memory.
    """

    def __init__(
        self,
        dataset: Dataset[dict[str, Any]],
        sampler: DistributedSampler[BatchAddress],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory and torch.cuda.is_available(),
            persistent_workers=num_workers > 0,
            # A loader draws a seed for its workers. Drawn from the global generator, this seed would change the dropout
            # masks of a resumed run.
            generator=torch.Generator(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position follows from the trainer's step counter, which is in the checkpoint."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counterpart of ``state_dict``; it tells Lightning that the loader resumes exactly."""


def address_only(address: object) -> BatchAddress:
    """Return ``address`` if it is a BatchAddress, else raise UserError (``overfit_batches`` sends plain numbers)."""
    if not isinstance(address, BatchAddress):
        raise UserError(
            "trainer.overfit_batches does not work with addressed data: set datamodule.limit instead", shared=True
        )
    return address
