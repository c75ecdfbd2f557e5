"""Interleaved timing of alternatives, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


def _processor_time() -> float:
    """Return processor seconds of this process and of ended children."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": _processor_time}
"""``wall``: what one waits, on a machine with nothing else to do. ``cpu``: processor time of this process and its
children, for a machine that others use too; with one thread only, because threads that wait consume it as well."""

_chosen = "wall"


def choose_clock(name: str) -> None:
    """Select the clock ``wall`` or ``cpu``."""
    global _chosen
    if name not in CLOCKS:
        raise ValueError(f"clock {name} is unknown: choose one of {', '.join(CLOCKS)}")
    _chosen = name


def clock_name() -> str:
    """Return the name of the clock in use."""
    return _chosen


def now() -> float:
    """Return the seconds of the clock in use."""
    return CLOCKS[_chosen]()


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs.

    Attributes:
        seconds: each run, in order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def low(self) -> float:
        """First quartile."""
        return _quartiles(self.seconds)[0]

    @property
    def high(self) -> float:
        """Third quartile."""
        return _quartiles(self.seconds)[1]

    def scaled(self, factor: float) -> Timing:
        """Return the timing with every run multiplied by ``factor``."""
        return Timing(tuple(second * factor for second in self.seconds))


def interleaved(
    alternatives: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    budget: float = 60.0,
    clock: Callable[[Callable[[], object]], float] | None = None,
) -> dict[str, Timing]:
    """Run every alternative once per round.

    Args:
        alternatives: what to run, by name.
        rounds: runs of each alternative.
        warm_up: uncounted runs before them.
        budget: seconds after which no further round starts (at least two rounds are made).
        clock: runs an alternative and returns its seconds; by default the clock in use.
    """
    for _ in range(warm_up):
        for run in alternatives.values():
            run()
    start = time.perf_counter()
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for done in range(rounds):
        if done >= 2 and time.perf_counter() - start > budget:
            break
        for name, run in alternatives.items():
            seconds[name].append((clock or _clock)(run))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ratio(of: Timing, to: Timing) -> Timing:
    """Return the ratio of runs of the same round."""
    return Timing(tuple(a / b for a, b in zip(of.seconds, to.seconds, strict=True)))


def difference(of: Timing, to: Timing) -> Timing:
    """Return the difference of runs of the same round."""
    return Timing(tuple(a - b for a, b in zip(of.seconds, to.seconds, strict=True)))


def _clock(run: Callable[[], object]) -> float:
    _wait()
    start = now()
    run()
    _wait()
    return now() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
