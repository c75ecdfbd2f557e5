"""Ranks of a job as threads of this process; collectives use a list and a barrier."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")

_PATIENCE = 20.0


def on_ranks(
    work: Callable[[int], Result], monkeypatch: pytest.MonkeyPatch, count: int = 2
) -> list[Result | Exception]:
    """Return the result or the exception of ``work(rank)`` for each rank.

    If the ranks call different collectives, or one waits in a collective that others never enter, the error names the
    rank and the collective.
    """
    local = threading.local()
    barrier = threading.Barrier(count, timeout=_PATIENCE)
    sent: list[Any] = [None] * count

    def exchange(name: str, value: Any) -> list[Any]:
        sent[local.rank] = (name, copy.deepcopy(value))
        try:
            barrier.wait()
            everything = list(sent)
            barrier.wait()
        except threading.BrokenBarrierError:
            raise AssertionError(f"rank {local.rank} waits in {name}") from None
        assert len({other for other, _ in everything}) == 1, f"out of step: {everything}"
        return [other for _, other in everything]

    def all_gather_object(found: list[Any], value: Any) -> None:
        found[:] = exchange("all_gather_object", value)

    def broadcast_object_list(values: list[Any], src: int) -> None:
        values[:] = exchange("broadcast_object_list", values)[src]

    def all_gather(found: list[Tensor], value: Tensor) -> None:
        for target, other in zip(found, exchange("all_gather", value), strict=True):
            assert other.shape == target.shape and other.dtype == target.dtype, f"{other.shape} {target.shape}"
            target.copy_(other)

    outcomes: list[Any] = [None] * count

    def run(rank: int) -> None:
        local.rank = rank
        try:
            outcomes[rank] = work(rank)
        except Exception as error:
            outcomes[rank] = error
            # Release the other ranks soon.
            threading.Timer(0.5, barrier.abort).start()

    with monkeypatch.context() as patch:
        patch.setattr(dist, "is_initialized", lambda: True)
        patch.setattr(dist, "get_world_size", lambda: count)
        patch.setattr(dist, "get_rank", lambda: local.rank)
        patch.setattr(dist, "get_backend", lambda: "gloo")
        patch.setattr(dist, "all_gather_object", all_gather_object)
        patch.setattr(dist, "broadcast_object_list", broadcast_object_list)
        patch.setattr(dist, "all_gather", all_gather)
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return outcomes
