"""Net evaluations per second in whole runs of two samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.gpu_proof.clock import allow_tf32, per_call, rate
from bench.gpu_proof.setup import RecordRow, Setup, value_of
from bench.rows import row
from bench.speed.sampling import configured
from src.noise import AddressedNoise

_POINTS = 6
_FASTER = 5.0


def prepare(setup: Setup, record_row: RecordRow, compiled: bool) -> Callable[[], None]:
    """Predictor-corrector and Heun; with ``compiled``, whole steps are CUDA graphs, compiled before the turn."""
    allow_tf32(True)
    runs = {}
    for name, sampler in (("predictor-corrector", "pc"), ("Heun", "heun")):
        made = configured(
            *setup.net_overrides,
            f"sampler={sampler}",
            f"sampler.grid.steps={3 if setup.small else _POINTS}",
            f"sampler.compile={str(compiled).lower()}",
            "net.channels_last=true",
        )
        runs[name] = _Run(*made, setup)
        if compiled:
            runs[name]()
    if compiled:
        torch.cuda.empty_cache()

    def measure() -> None:
        section = f"Samplers, {setup.net}, batch {setup.batch}, bf16, channels_last"
        textbooks = value_of(setup.record, "forward, textbook, float32")
        for name, run in runs.items():
            timing = per_call(run, 0.2 if setup.small else 3.0, warm_up=1, blocks=3)
            label = f"{name}, {'whole steps compiled' if compiled else 'eager'}"
            speed = rate(timing, setup.batch * run.evaluations)
            record_row(row(section, label, speed, "evaluations/s"))
            if textbooks is not None:
                wanted = _FASTER if compiled else None
                record_row(
                    row(section, f"{label}, over textbook's float32", speed.median / textbooks, "x", at_least=wanted)
                )

    return measure


class _Run:
    """A run of a sampler on one batch."""

    def __init__(self, model: Any, sampler: Any, shape: tuple[int, ...], setup: Setup) -> None:
        self.model, self.sampler, self.setup = model.to(setup.device), sampler, setup
        self.noise = AddressedNoise(0, torch.arange(setup.batch, device=setup.device))
        like = torch.empty(setup.batch, *shape, device=setup.device)
        self.x = model.sde.prior_sample(self.noise("prior", 0, like))
        self.evaluations = 0

    def __call__(self) -> None:
        with torch.no_grad(), torch.autocast(self.setup.device, torch.bfloat16):
            self.evaluations = int(self.sampler(self.model, self.x, self.noise).nfe[0])
