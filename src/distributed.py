"""Collectives over the processes of a run; no-ops with one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import UserError
from .runtime import signals

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate (n_r, *d) of every rank, in order of the ranks; n_r may differ and be zero.

    Returns:
        (sum of n_r, *d) on the CPU, the same on every rank.
    """
    return torch.cat(gather_parts(rows))


def gather_parts(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather (n_r, *d) of every rank, also CPU tensors under NCCL; a ``dist_sync_fn`` for torchmetrics.

    Args:
        rows: n_r may differ between ranks and be zero.
        group: torchmetrics passes one; all ranks take part whatever it is.

    Returns:
        The tensors on the CPU in order of the ranks, the same on every rank.
    """
    if world_size() == 1:
        return [rows.cpu()]
    device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in dist.get_backend() else torch.device("cpu")
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=device))
    sizes = [int(count) for count in counts]
    padded = torch.zeros(max(sizes), *rows.shape[1:], dtype=rows.dtype, device=device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size].cpu() for part, size in zip(parts, sizes, strict=True)]


def gather_objects(value: T) -> list[T]:
    """Collect ``value`` of every process, in order of the ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def raise_together(failure: str | None) -> None:
    """Raise UserError on every process if one has failed, so that no process waits for one that has ended.

    Args:
        failure: why this process failed; None if it did not.
    """
    reason = next((text for text in gather_objects(failure) if text), None)
    if reason is not None:
        raise UserError(reason, shared=True)


@contextmanager
def failing_together() -> Iterator[None]:
    """Raise a UserError or a signal of any process on all processes at the end of the block.

    All processes enter the block, and no process may wait for another inside: one that failed would never arrive.

    Raises:
        UserError: on every process, if one has raised it.
        signals.Stopped: on every process, if one was stopped.
    """
    failure, stopped = None, None
    try:
        yield
    except UserError as error:
        failure = str(error)
    except signals.Stopped as error:
        if world_size() == 1:
            raise
        stopped = error.number
    if world_size() > 1:
        number = next((each for each in gather_objects(stopped) if each is not None), None)
        if number is not None:
            raise signals.Stopped(number)
    raise_together(failure)


def on_rank_zero(work: Callable[[], T]) -> T:
    """Do ``work`` on rank 0 and return its result, or raise its error, on every rank."""
    if world_size() == 1:
        return work()
    outcome: list[object] = [None]
    failure: Exception | None = None
    if rank() == 0:
        try:
            outcome = [work()]
        except Exception as error:
            failure = error
            if isinstance(error, UserError):
                error.shared = True
            outcome = [error if isinstance(error, UserError) else RuntimeError(f"on rank 0: {error!r}")]
    dist.broadcast_object_list(outcome, src=0)
    if failure is not None:
        raise failure
    result = outcome[0]
    if isinstance(result, Exception):
        raise result
    return cast(T, result)


def agreed(value: T) -> tuple[T, bool]:
    """Return the value of rank 0, and whether all ranks have the same value; all processes call it."""
    first = on_rank_zero(lambda: value)
    return first, all(gather_objects(first == value))
