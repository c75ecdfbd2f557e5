"""Timing of asynchronous work on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from bench.timing import Timing
from src.runtime.precision import set_float32_precision


def wait() -> None:
    """Wait until the device has finished all work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def per_call(run: Callable[[], object], seconds: float, warm_up: int = 3, blocks: int = 5) -> Timing:
    """Return seconds per call for each of ``blocks`` blocks of calls, which take about ``seconds`` in total.

    Within a block the host runs ahead of the device, as in training.
    """
    for _ in range(warm_up):
        run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    calls = max(1, int(seconds / blocks / max(time.perf_counter() - start, 1e-6)))
    found = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        found.append((time.perf_counter() - start) / calls)
    return Timing(tuple(found))


def rate(timing: Timing, amount: float) -> Timing:
    """Return ``amount`` per second, for a timing of one call."""
    return Timing(tuple(amount / second for second in timing.seconds))


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for matrix products and convolutions."""
    set_float32_precision("high" if allowed else "highest")
    torch.backends.cudnn.benchmark = True


def peak_memory() -> float:
    """Return the peak of allocated memory in GiB; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
