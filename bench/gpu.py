"""The same net on a card: precisions, memory formats, compilation and CUDA graphs, as a share of the card's peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from bench import machine
from bench.nets import flops_per_image
from bench.rows import Row, row
from bench.timing import Timing, interleaved, ratio
from bench.variants import Step, Variant, cifar_net, variants

CUDA = torch.device("cuda")


def _compiled(mode: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        net = cifar_net(channels_last=True)
        net.compile(mode=mode)
        return net

    return build


def gpu_variants() -> dict[str, Variant]:
    """From the textbook's form in float32 to everything switched on."""
    plain = {name: v for name, v in variants().items() if name in ("textbook", "diffusers", "ours")}
    ours = plain["ours"]
    last = replace(ours, build=partial(cifar_net, channels_last=True), channels_last=True)
    half = replace(last, autocast=torch.bfloat16)
    return {
        **plain,
        "ours, TF32": replace(ours, tf32=True),
        "ours, bf16": replace(ours, autocast=torch.bfloat16),
        "ours, bf16, channels_last": half,
        "ours, bf16, channels_last, compiled": replace(half, build=_compiled("default")),
        "ours, bf16, channels_last, compiled, CUDA graphs": replace(half, build=_compiled("reduce-overhead")),
    }


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def _peak(dtype: torch.dtype, tf32: bool) -> float:
    """The fastest matrix product, in GFLOP/s."""
    _allow_tf32(tf32)
    return max(machine.gemm(CUDA, dtype).seconds)


def speed(batch: int, rounds: int) -> list[Row]:
    """Images per second of each variant, one after the other (they do not fit into memory together)."""
    section = f"CIFAR-10 NCSN++ on {torch.cuda.get_device_name()}, batch {batch}"
    peaks = {kind: _peak(*kind) for kind in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False))}
    rows = [
        row(section, f"GEMM peak, {dtype}{', TF32' if tf32 else ''}", peak / 1e3, "TFLOP/s")
        for (dtype, tf32), peak in peaks.items()
    ]
    reference: dict[str, Timing] = {}
    flops = {what: batch * count for what, count in flops_per_image().items()}
    for name, variant in gpu_variants().items():
        _allow_tf32(variant.tf32)
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats()
        step = Step(variant, batch, CUDA)
        # Compilation, autotuning and the capture of graphs happen in the first calls.
        times = {
            what: interleaved({what: run}, rounds, warm_up=5)[what]
            for what, run in (("forward", step.forward), ("train", step.train))
        }
        reference = reference or times
        for what, timing in times.items():
            rate = Timing(tuple(batch / second for second in timing.seconds))
            rows.append(row(section, f"{what}, {name}", rate, "images/s"))
            target = (5.0 if what == "forward" else 4.0) if "CUDA graphs" in name else None
            rows.append(
                row(section, f"{what}, {name}, over textbook", ratio(reference[what], timing), "x", at_least=target)
            )
            peak = peaks[variant.autocast or torch.float32, variant.tf32]
            share = Timing(tuple(100 * flops[what] / second / 1e9 / peak for second in timing.seconds))
            rows.append(row(section, f"{what}, {name}, of the GEMM peak of its precision (MFU)", share, "%"))
        memory = torch.cuda.max_memory_allocated() / 2**30
        rows.append(row(section, f"peak memory, {name}", memory, "GiB"))
        del step
        torch.cuda.empty_cache()
    return rows
