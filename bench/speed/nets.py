"""Forward pass, training step and memory of the CIFAR-10 net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import torch

from bench import machine
from bench.rows import Row, row
from bench.speed.variants import Step, configured_adam, variants
from bench.speed.worker import Worker
from bench.timing import Timing, clock_name, interleaved, ratio

CPU = torch.device("cpu")
OTHERS = ("textbook", "diffusers")
WHAT = {"forward": "Forward pass", "train": "Training step"}
EAGER = ("ours", "ours, channels_last")
COMPILED = ("ours, compiled",)
FASTER_THAN = {
    **{("forward", name, "textbook"): 1.6 for name in EAGER},
    **{("train", name, "textbook"): 1.4 for name in EAGER},
    **{("forward", name, "textbook"): 1.65 for name in COMPILED},
    **{("train", name, "textbook"): 1.6 for name in COMPILED},
    **{(what, name, "diffusers"): 1.25 for what in WHAT for name in EAGER + COMPILED},
}
SHARE_OF_PEAK = {
    **{("forward", name): 80.0 for name in EAGER},
    **{("train", name): 58.0 for name in EAGER},
    **{("forward", name): 85.0 for name in COMPILED},
    **{("train", name): 68.0 for name in COMPILED},
}
SMALLER_THAN = dict.fromkeys(EAGER, 0.75)


def speed(what: str, names: Sequence[str], batch: int, rounds: int, budget: float) -> list[Row]:
    """Time the variants in turn, each in its own process; compare with the GEMM peak of the machine.

    Args:
        what: ``forward`` or ``train``.
        names: variants.
        batch: images per step.
        rounds: steps of each variant.
        budget: seconds after which no further round starts.
    """
    with _workers(names, batch) as workers:
        before = machine.gemm(CPU).seconds
        asks = {name: partial(worker.ask, what) for name, worker in workers.items()}
        times = interleaved(asks, rounds, budget=budget, clock=_reported)
        peak = max(*before, *machine.gemm(CPU).seconds)
    flops = flops_per_image()[what]
    compiled = ", compiled" if set(names) & set(COMPILED) else ""
    threads = f"{torch.get_num_threads()} thread(s)" + (", processor time" if clock_name() == "cpu" else "")
    section = f"{WHAT[what]}, CIFAR-10 NCSN++{compiled}, batch {batch}, {threads}"
    rows = [row(section, name, timing, "s") for name, timing in times.items()]
    for name in (name for name in times if name not in OTHERS):
        for other in (other for other in OTHERS if other in times):
            target = FASTER_THAN.get((what, name, other))
            rows.append(row(section, f"{name} over {other}", ratio(times[other], times[name]), "x", at_least=target))
    rows.append(row(section, "work per image", flops / 1e9, "GFLOP"))
    rows.append(row(section, "GEMM peak of this machine, float32", peak, "GFLOP/s"))
    for name, timing in times.items():
        if name not in OTHERS:
            share = Timing(tuple(100 * batch * flops / second / 1e9 / peak for second in timing.seconds))
            rows.append(row(section, f"{name}, of the GEMM peak", share, "%", at_least=SHARE_OF_PEAK.get((what, name))))
    return rows


def peak_memory(names: Sequence[str], batch: int) -> list[Row]:
    """Measure peak memory of a process that trains for two steps, each variant in its own process."""
    section = f"Peak memory of a training step, batch {batch}"
    peaks = {}
    for name in names:
        with _workers([name], batch) as workers:
            for _ in range(2):
                workers[name].ask("train")
            peaks[name] = workers[name].ask("peak")
    rows = [row(section, name, peak / 2**30, "GiB") for name, peak in peaks.items()]
    for name, peak in peaks.items():
        if name not in OTHERS and "textbook" in peaks:
            share = peak / peaks["textbook"]
            rows.append(row(section, f"{name} over textbook", share, "x", at_most=SMALLER_THAN.get(name)))
    return rows


def optimizer_speed(rounds: int) -> list[Row]:
    """Time Adam for as many parameters as the CIFAR-10 net has, as configured and with torch's defaults."""

    def prepared(make: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
        parameters = [torch.nn.Parameter(torch.randn(256, 256, 3, 3)) for _ in range(106)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        return make(parameters).step

    times = interleaved({"as configured": prepared(configured_adam), "default": prepared(torch.optim.Adam)}, rounds)
    return [row("Adam, 62.5 million parameters", name, timing.scaled(1e3), "ms") for name, timing in times.items()]


@cache
def flops_per_image() -> dict[str, float]:
    """Return floating-point operations of the products in a forward pass and in a training step of our net."""
    return Step(variants()["ours"], 1, CPU).flops_per_image()


@contextmanager
def _workers(names: Sequence[str], batch: int) -> Iterator[dict[str, Worker]]:
    workers = {name: Worker(name, batch) for name in names}
    try:
        for worker in workers.values():
            worker.wait()
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _reported(run: Callable[[], object]) -> float:
    seconds = run()
    assert isinstance(seconds, float)
    return seconds
