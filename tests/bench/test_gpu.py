"""The shares of a card's peak, without a card: each variant is held against the peak of its own precision."""

from types import SimpleNamespace

import pytest
import torch

from bench import gpu
from bench.timing import Timing
from bench.variants import Variant

PEAKS = {(torch.float32, False): 50e3, (torch.float32, True): 400e3, (torch.bfloat16, False): 800e3}


def test_shares_are_of_the_peak_of_the_same_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def gemm(device: torch.device, dtype: torch.dtype) -> Timing:
        return Timing((PEAKS[dtype, torch.backends.cuda.matmul.allow_tf32 and dtype == torch.float32],))

    # Every variant takes a second for as many operations as TF32 can do in it.
    shown = {
        "float32": Variant(torch.nn.Identity, torch.optim.Adam),
        "TF32": Variant(torch.nn.Identity, torch.optim.Adam, tf32=True),
        "bf16": Variant(torch.nn.Identity, torch.optim.Adam, autocast=torch.bfloat16),
    }
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=False))
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=False))
    monkeypatch.setattr(gpu.machine, "gemm", gemm)
    monkeypatch.setattr(gpu, "gpu_variants", lambda: shown)
    monkeypatch.setattr(gpu, "flops_per_image", lambda: {"forward": 4e14, "train": 4e14})
    monkeypatch.setattr(gpu, "Step", lambda *_: SimpleNamespace(forward=None, train=None))
    monkeypatch.setattr(gpu, "interleaved", lambda what, *_, **__: dict.fromkeys(what, Timing((1.0,))))
    for name, value in (
        ("get_device_name", "a card"),
        ("reset_peak_memory_stats", None),
        ("max_memory_allocated", 0),
        ("empty_cache", None),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    rows: dict[str, float] = {r.what: r.value for r in gpu.speed(1, 1)}
    for name, share in (("float32", 800.0), ("TF32", 100.0), ("bf16", 50.0)):
        assert rows[f"forward, {name}, of the GEMM peak of its precision (MFU)"] == pytest.approx(share)
    assert rows["GEMM peak, torch.float32, TF32"] == 400.0
