"""Forward pass, training step and memory of the CIFAR-10 net."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import machine, memory
from bench.rows import Row, row
from bench.timing import Timing, interleaved, ratio
from bench.variants import Step, configured_adam, variants

CPU = torch.device("cpu")
COMPARED = ("textbook", "diffusers")


def speed(batch: int, rounds: int, budget: float, compiled: bool, names: list[str] | None = None) -> list[Row]:
    """Times of the variants in turn, and our share of what the machine can multiply."""
    section = f"CIFAR-10 NCSN++, batch {batch}"
    chosen = {n: v for n, v in variants(compiled).items() if n in (names or (*COMPARED, "ours", "ours, compiled"))}
    steps = {name: Step(variant, batch, CPU) for name, variant in chosen.items()}
    peak = max(machine.gemm(CPU).seconds)
    forward = interleaved({name: step.forward for name, step in steps.items()}, rounds, budget=budget / 3)
    train = interleaved({name: step.train for name, step in steps.items()}, rounds, budget=budget)
    rows = [row(section, "GEMM peak of this machine, float32", peak, "GFLOP/s")]
    for name in steps:
        rows.append(row(section, f"forward, {name}", forward[name], "s"))
        rows.append(row(section, f"training step, {name}", train[name], "s"))
    for name in steps:
        if name not in COMPARED:
            rows += _compare(section, name, forward, train)
    flops = flops_per_image()
    for what, times, targets in (
        ("forward", forward, {"ours": 0.80, "ours, compiled": 0.85}),
        ("training step", train, {"ours": 0.58, "ours, compiled": 0.68}),
    ):
        rows.append(row(section, f"{what}, work per image", flops[what] / 1e9, "GFLOP"))
        for name in steps:
            if name not in COMPARED:
                share = Timing(tuple(batch * flops[what] / second / 1e9 / peak for second in times[name].seconds))
                rows.append(row(section, f"{what}, {name}, of the GEMM peak", share, "", at_least=targets.get(name)))
    return rows


def _compare(section: str, name: str, forward: dict[str, Timing], train: dict[str, Timing]) -> list[Row]:
    compiled = "compiled" in name
    targets = {
        ("forward", "textbook"): 1.65 if compiled else 1.6,
        ("training step", "textbook"): 1.6 if compiled else 1.4,
        ("forward", "diffusers"): 1.25,
        ("training step", "diffusers"): 1.25,
    }
    judged = name in ("ours", "ours, compiled")
    return [
        row(
            section,
            f"{what}, {name} over {other}",
            ratio(times[other], times[name]),
            "x",
            at_least=targets[what, other] if judged else None,
        )
        for what, times in (("forward", forward), ("training step", train))
        for other in COMPARED
        if other in times
    ]


def optimizer_speed(rounds: int) -> list[Row]:
    """Adam alone, on as many parameters as the CIFAR-10 net has, as configured and as torch chooses by itself."""
    section = "Adam, 62.8 M parameters"

    def prepared(make: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
        parameters = [torch.nn.Parameter(torch.randn(256, 256, 3, 3)) for _ in range(106)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        return make(parameters).step

    times = interleaved({"as configured": prepared(configured_adam), "default": prepared(torch.optim.Adam)}, rounds)
    return [row(section, name, timing, "s") for name, timing in times.items()]


def peak_memory(batch: int, compiled: bool, names: list[str] | None = None) -> list[Row]:
    """Peak memory of a training step, each variant in a process of its own."""
    section = f"Peak memory of a training step, batch {batch}"
    chosen = {n: v for n, v in variants(compiled).items() if names is None or n in names}
    peaks = memory.peaks(chosen, batch)
    rows = [row(section, name, peak / 2**30, "GiB") for name, peak in peaks.items()]
    for name, peak in peaks.items():
        if name not in COMPARED and "textbook" in peaks:
            target = 0.75 if name == "ours" else None
            rows.append(row(section, f"{name} over textbook", peak / peaks["textbook"], "x", at_most=target))
    return rows


def flops_per_image() -> dict[str, float]:
    """Floating-point operations of the products in a forward pass and in a training step of our net."""
    step = Step(variants()["ours"], 1, CPU)
    counts = {}
    for what, run in (("forward", step.forward), ("training step", lambda: step.loss().backward())):
        with FlopCounterMode(display=False) as counter:
            run()
        counts[what] = float(counter.get_total_flops())
    return counts
