"""Averages of weights against the original's numbers and closed forms."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from src.callbacks.ema import EMA
from src.checkpoint.averages import ExponentialAverage, HalfLifeAverage
from tests.golden import load


class Holder(LightningModule):
    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.net = nn.Module()
        self.model.net.p = nn.Parameter(values)


def test_warm_up_follows_the_original() -> None:
    golden = load("ema")
    module = Holder(torch.arange(4.0))
    ema = EMA({"default": ExponentialAverage(float(golden["decay"]))})
    ema.shadows = {"default": {"p": module.model.net.p.detach().clone()}}
    for n, expected in enumerate(golden["shadow"], start=1):
        module.model.net.p.data += n * torch.tensor([0.1, -0.1, 0.05, 0.2])
        ema.update(module.model.net)
        torch.testing.assert_close(ema.shadows["default"]["p"], expected, rtol=1e-5, atol=1e-5)


def test_decay_without_warm_up_is_the_geometric_sum() -> None:
    module = Holder(torch.zeros(1, dtype=torch.float64))
    ema = EMA({"default": ExponentialAverage(0.9, warmup=False)})
    ema.shadows = {"default": {"p": torch.zeros(1, dtype=torch.float64)}}
    module.model.net.p.data += 1
    for _ in range(5):
        ema.update(module.model.net)
    assert float(ema.shadows["default"]["p"]) == pytest.approx(1 - 0.9**5)


def test_half_life() -> None:
    average = HalfLifeAverage(half_life=1000, batch_size=10, ramp=None)
    kept = 1.0
    for update in range(1, 101):
        kept *= 1 - average.rate(update)
    assert kept == pytest.approx(0.5)
    ramped = HalfLifeAverage(half_life=1000, batch_size=10, ramp=0.05)
    assert ramped.rate(1) == pytest.approx(1.0), "before any image the average is the weights themselves"
    assert ramped.rate(10**6) == pytest.approx(average.rate(10**6))


def test_averages_stand_in_and_raw_weights_come_back_exactly() -> None:
    module = Holder(torch.randn(5).bfloat16())
    raw = module.model.net.p.detach().clone()
    shadow = torch.randn(5)
    ema = EMA({"default": ExponentialAverage()})
    ema.shadows = {"default": {"p": shadow.clone()}}
    with ema.applied(module):
        assert torch.equal(module.model.net.p, shadow.bfloat16())
        with pytest.raises(RuntimeError, match="stood in"):
            ema.on_save_checkpoint(Trainer(logger=False, accelerator="cpu"), module, {})
    assert torch.equal(module.model.net.p, raw)
    assert torch.equal(ema.shadows["default"]["p"], shadow), "float32 averages survive a bfloat16 net"
