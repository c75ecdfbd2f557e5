"""The training step of ``train.py``: Lightning, addressed noise, clipping, fused Adam, averages, logging."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from bench.gpu_proof.clock import allow_tf32, peak_memory, rate, wait
from bench.gpu_proof.setup import RecordRow, Setup, value_of
from bench.gpu_proof.stages.card import PEAK
from bench.gpu_proof.stages.speed.steps import FASTER_THAN_TEXTBOOK, LEAST_RATE, flops_per_image
from bench.gpu_proof.turn import wait_for_turn
from bench.rows import row
from bench.timing import Timing
from src.config.location import CONFIG_DIR

PROFILED = 10
"""Steps whose kernels are counted."""

_KINDS = {
    "fused_adam": "optimizer",
    "multi_tensor": "optimizer and averages",
    "triton": "fused by Inductor",
    "group_norm": "norm",
    "RowwiseMoments": "norm",
    "conv": "convolutions and products",
    "gemm": "convolutions and products",
    "xmma": "convolutions and products",
    "cutlass": "convolutions and products",
    "nvjet": "convolutions and products",
    "flash": "attention",
    "fmha": "attention",
    "copy": "copies and casts",
    "Memcpy": "copies and casts",
    "nchwToNhwc": "copies and casts",
    "nhwcToNchw": "copies and casts",
    "reduce": "reductions",
    "elementwise": "elementwise",
}
"""Groups of kernels: the first of these strings contained in a kernel's name decides."""


def prepare(setup: Setup, record_row: RecordRow, how: str) -> Callable[[], None]:
    """Build everything for ``fit``; compiled steps run before the turn, then training pauses until the turn."""
    compiled = how == "compiled"
    trainer, module, data, watch = _run(setup, compiled, held=compiled)

    name, flops = f"train.py's step, {how}", flops_per_image(setup)["train"]
    watch.on_timed = lambda: watch.report_speed(setup, record_row, name, flops)

    def fit() -> None:
        trainer.fit(module, data)
        watch.report_kernels(setup, record_row, name)

    if not compiled:
        return fit
    # Waits for its turn inside, after the steps that compile.
    fit()
    return lambda: None


def _run(setup: Setup, compiled: bool, held: bool) -> tuple[Trainer, LightningModule, Any, _Watch]:
    settings = [
        *setup.net_overrides,
        f"trainer={'gpu' if setup.on_gpu else 'cpu'}",
        f"module.compile={str(compiled).lower()}",
        "net.compile=false",
        *setup.data_overrides,
        f"datamodule.global_batch_size={setup.batch}",
        "callbacks=minimal",
        "sde.prior_mean=0.0",
        f"paths.run_dir={tempfile.mkdtemp(dir=setup.work)}",
        "trainer.max_steps=100000",
        "+trainer.limit_val_batches=0",
        "callbacks.last_checkpoint.every_n_steps=1000000",
        "callbacks.milestones.every_n_steps=1000001",
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=settings)
    allow_tf32(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(0, verbose=False)
    watch = _Watch(held, warm_up=2 if setup.small else 20, seconds=0.3 if setup.small else 3.0)
    build: Callable[[Any], Any] = lambda node: instantiate(node, _convert_="all")  # noqa: E731
    trainer = instantiate(
        cfg.trainer,
        _convert_="all",
        callbacks=[*map(build, cfg.callbacks.values()), watch],
        logger=[*map(build, cfg.logger.values())],
    )
    return trainer, build(cfg.module), build(cfg.datamodule), watch


class _Watch(Callback):
    """Time steps in blocks, profile a few steps, then end the training.

    ``on_timed`` is called before the profile, which fails on a machine without access to the GPU's counters.

    Args:
        held: wait for the turn of this stage after the first steps.
        warm_up: steps before the clock starts.
        seconds: total time of the timed blocks.
    """

    def __init__(self, held: bool, warm_up: int, seconds: float) -> None:
        self.held = held
        self.warm_up = warm_up
        self.seconds = seconds
        self.step_seconds: list[float] = []
        self.kernels: list[dict[str, Any]] = []
        self.on_timed: Callable[[], None] = lambda: None
        self._events: Iterator[None] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._events = self._events or self._course(trainer)
        next(self._events)

    def _course(self, trainer: Trainer) -> Iterator[None]:
        """Actions after each step; every ``yield`` is one step."""
        yield
        if self.held:
            wait()
            torch.cuda.empty_cache()
            wait_for_turn()
        yield from repeat(None, self.warm_up)
        (probe,) = yield from self._timed(3)
        steps = max(1, int(self.seconds / 5 / probe))
        for _ in range(5):
            self.step_seconds += yield from self._timed(steps)
        self.on_timed()
        if torch.cuda.is_available():
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
                yield from repeat(None, PROFILED)
                wait()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "trace.json"
                profiler.export_chrome_trace(str(path))
                self.kernels = kernels_of(json.loads(path.read_text(encoding="utf-8")))
        trainer.should_stop = True
        yield

    def _timed(self, steps: int) -> Generator[None, None, list[float]]:
        wait()
        start = time.perf_counter()
        yield from repeat(None, steps)
        wait()
        return [(time.perf_counter() - start) / steps]

    def report_speed(self, setup: Setup, record_row: RecordRow, name: str, flops: float) -> None:
        """Report rates and memory."""
        section, timing = _section(setup), Timing(tuple(self.step_seconds))
        target = {"at_least": LEAST_RATE} if "compiled" in name else {}
        record_row(row(section, name, rate(timing, setup.batch), "images/s", **target))
        record_row(row(section, f"{name}, a step", timing.scaled(1e3), "ms"))
        textbooks = value_of(setup.record, "train, textbook, float32")
        if textbooks is not None:
            gain = setup.batch / timing.median / textbooks
            target = {"at_least": FASTER_THAN_TEXTBOOK} if "compiled" in name else {}
            record_row(row(section, f"{name}, over the textbook's bare step", gain, "x", **target))
        peak = value_of(setup.record, PEAK["bf16"])
        if peak is not None and setup.on_gpu:
            share = 100 * setup.batch * flops / timing.median / 1e12 / peak
            record_row(row(section, f"{name}, of the bf16 GEMM peak (MFU)", share, "%"))
            record_row(row(section, f"{name}, peak memory", peak_memory(), "GiB"))

    def report_kernels(self, setup: Setup, record_row: RecordRow, name: str) -> None:
        """Report the time outside of kernels, and the time of each group of kernels."""
        section, timing = _section(setup), Timing(tuple(self.step_seconds))
        if self.kernels:
            busy = busy_seconds(self.kernels) / PROFILED
            outside = 100 * max(0.0, 1 - busy / timing.median)
            target = {"at_most": 5.0} if "compiled" in name else {}
            record_row(row(section, f"{name}, time outside kernels", outside, "%", **target))
            record_row(row(section, f"{name}, kernels of a step", len(self.kernels) / PROFILED, "launches"))
            for kind, seconds in by_kind(self.kernels).items():
                record_row(row(section, f"{name}, {kind}", 1e3 * seconds / PROFILED, "ms"))


def _section(setup: Setup) -> str:
    return f"Training step of train.py, {setup.net}, batch {setup.batch}"


def kernels_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the device events of a Chrome trace: kernels, copies and fills, without annotations."""
    wanted = {"kernel", "gpu_memcpy", "gpu_memset"}
    return [event for event in trace["traceEvents"] if event.get("ph") == "X" and event.get("cat") in wanted]


def busy_seconds(kernels: Iterable[dict[str, Any]]) -> float:
    """Return the seconds during which at least one kernel ran."""
    total, until = 0.0, float("-inf")
    for begin, length in sorted((float(k["ts"]), float(k["dur"])) for k in kernels):
        total += max(0.0, begin + length - max(begin, until))
        until = max(until, begin + length)
    return total / 1e6


def by_kind(kernels: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of each group of kernels, longest first."""
    seconds: dict[str, float] = {}
    for kernel in kernels:
        kind = next((kind for part, kind in _KINDS.items() if part in kernel["name"]), "other kernels")
        seconds[kind] = seconds.get(kind, 0.0) + float(kernel["dur"]) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
