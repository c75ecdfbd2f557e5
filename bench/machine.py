"""Description of the machine, and its rate of matrix products."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bench.timing import Timing, clock_name, interleaved

PACKAGES = ("torch", "lightning", "torchvision", "diffusers", "numpy")


def describe() -> dict[str, str]:
    """Return processor, threads, GPU and versions as text."""
    facts = {
        "processor": f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "clock": clock_name(),
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def gemm(device: torch.device, dtype: torch.dtype = torch.float32, size: int | None = None) -> Timing:
    """Measure GFLOP/s of square matrix products; the peak is the largest.

    Args:
        device: device to measure.
        dtype: dtype of the factors.
        size: size of the matrices; the default is large enough to hide overheads.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    timing = interleaved({"gemm": lambda: a @ b}, rounds=30, warm_up=3, budget=4.0)["gemm"]
    return Timing(tuple(2 * size**3 / second / 1e9 for second in timing.seconds))


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
