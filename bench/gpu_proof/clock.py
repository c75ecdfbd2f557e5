"""Seconds of work on a device whose launches return before it is done."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from bench.timing import Timing
from src.precision import set_float32_precision


def wait() -> None:
    """Until the device has done everything."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def per_call(run: Callable[[], object], seconds: float, warm_up: int = 3, blocks: int = 5) -> Timing:
    """Seconds of one call in each of ``blocks`` rows of calls, which take about ``seconds`` together.

    Within a block the host runs ahead of the device, as it does in a training.
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
    """``amount`` of something per second, for a timing of one call."""
    return Timing(tuple(amount / second for second in timing.seconds))


def allow_tf32(allowed: bool) -> None:
    """For matrix products and convolutions, or for neither."""
    set_float32_precision("high" if allowed else "highest")
    torch.backends.cudnn.benchmark = True


def peak_memory() -> float:
    """GiB that were allocated at most; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
