"""Forward pass and training step of the net without a trainer, from textbook operations to one compiled graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from bench.gpu_proof.clock import allow_tf32, peak_memory, per_call, rate
from bench.gpu_proof.setup import RecordRow, Setup, value_of
from bench.gpu_proof.stages.card import PEAK
from bench.rows import row
from bench.speed.textbook import textbook
from bench.speed.variants import Diffusers, Step, Variant
from src.config.location import CONFIG_DIR

LEAST_RATE = 3500.0
FASTER_THAN_TEXTBOOK = 4.0


def net(setup: Setup, *overrides: str) -> nn.Module:
    """Return the measured net on the CPU."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=[*setup.net_overrides, *overrides])
    made: nn.Module = instantiate(cfg.net, _convert_="all")
    return made


def variants(setup: Setup) -> dict[str, Variant]:
    """Return the measured variants by name."""
    fused = partial(torch.optim.Adam, lr=2e-4, fused=True)
    plain = Variant(partial(net, setup), fused)
    half = replace(plain, autocast=torch.bfloat16)
    last = replace(half, build=partial(net, setup, "net.channels_last=true"), channels_last=True)
    return {
        "textbook, float32": Variant(lambda: textbook(net(setup)), partial(torch.optim.Adam, lr=2e-4)),
        "diffusers, bf16": Variant(Diffusers, partial(torch.optim.Adam, lr=2e-4), autocast=torch.bfloat16, tf32=True),
        "ours, TF32": replace(plain, tf32=True),
        "ours, bf16": replace(half, tf32=True),
        "ours, bf16, channels_last": replace(last, tf32=True),
        "ours, bf16, channels_last, compiled net": replace(
            last, tf32=True, build=partial(net, setup, "net.channels_last=true", "net.compile=true")
        ),
        "ours, bf16, channels_last, compiled loss": replace(last, tf32=True),
    }


def prepare(setup: Setup, record_row: RecordRow, name: str) -> Callable[[], None]:
    """Build the net; compile before the turn."""
    variant = variants(setup)[name]
    flops = flops_per_image(setup)
    allow_tf32(variant.tf32)
    step = _Step(variant, setup, compiled="compiled loss" in name)
    runs = {"train": step.train} if "compiled loss" in name else {"train": step.train, "forward": step.forward}
    if "compiled" in name:
        for run in runs.values():
            run()
        torch.cuda.empty_cache()

    def measure() -> None:
        section = f"Training step and forward pass, {setup.net}, batch {setup.batch}"
        peak = value_of(setup.record, PEAK["bf16" if variant.autocast else "tf32" if variant.tf32 else "float32"])
        for what, run in runs.items():
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            timing = per_call(run, 0.2 if setup.small else 2.5, warm_up=1 if setup.small else 5)
            least = LEAST_RATE if what == "train" and "compiled" in name else None
            record_row(row(section, f"{what}, {name}", rate(timing, setup.batch), "images/s", at_least=least))
            record_row(row(section, f"{what}, {name}, a call", timing.scaled(1e3), "ms"))
            textbooks = value_of(setup.record, f"{what}, textbook, float32")
            if textbooks is not None and "ours" in name:
                gain = setup.batch / timing.median / textbooks
                wanted = FASTER_THAN_TEXTBOOK if least else None
                record_row(row(section, f"{what}, {name}, over textbook", gain, "x", at_least=wanted))
            if peak is not None and "diffusers" not in name:
                reached = setup.batch * flops[what] / timing.median / 1e12
                record_row(
                    row(section, f"{what}, {name}, of the GEMM peak of its precision (MFU)", 100 * reached / peak, "%")
                )
            if setup.on_gpu:
                record_row(row(section, f"{what}, {name}, peak memory", peak_memory(), "GiB"))

    return measure


class _Step(Step):
    """A step whose loss may be one compiled graph."""

    def __init__(self, variant: Variant, setup: Setup, compiled: bool) -> None:
        super().__init__(variant, setup.batch, torch.device(setup.device))
        if compiled:
            compiled_loss: Callable[[], Any] = torch.compile(self.loss, dynamic=False)
            self.loss = compiled_loss  # type: ignore[method-assign] # as torch documents it


def flops_per_image(setup: Setup) -> dict[str, float]:
    """Return floating-point operations of the products in a forward pass and in a training step."""
    return Step(Variant(partial(net, setup), torch.optim.Adam), 1, torch.device("cpu")).flops_per_image()
