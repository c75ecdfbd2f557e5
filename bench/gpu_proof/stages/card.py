"""Limits of the GPU: copy rate and matrix product rates."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.gpu_proof.clock import allow_tf32, per_call, rate
from bench.gpu_proof.setup import RecordRow, Setup, device_name
from bench.rows import row

PEAK = {"bf16": "GEMM peak, bf16", "tf32": "GEMM peak, TF32", "float32": "GEMM peak, float32"}
"""Names of the rows that shares of the peak refer to."""


def prepare(setup: Setup, record_row: RecordRow) -> Callable[[], None]:
    """Measure the largest copy rate and GEMM rates."""

    def measure() -> None:
        section = f"Limits of {device_name()}"
        seconds = 0.05 if setup.small else 1.0
        numbers = 2**20 if setup.small else 2**29
        source = torch.empty(numbers, device=setup.device)
        target = torch.empty_like(source)
        copy = rate(per_call(lambda: target.copy_(source), seconds), 2 * 4 * numbers / 1e9)
        record_row(row(section, "copy, bytes read and written", max(copy.seconds), "GB/s"))
        del source, target
        size = 256 if setup.small else 8192
        for kind, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32), ("float32", torch.float32)):
            allow_tf32(kind == "tf32")
            a, b = (torch.randn(size, size, device=setup.device, dtype=dtype) for _ in range(2))
            products = rate(per_call(lambda a=a, b=b: a @ b, seconds), 2 * size**3 / 1e12)
            record_row(row(section, PEAK[kind], max(products.seconds), "TFLOP/s"))

    return measure
