"""Averages of weights, compared with the original code and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from src.callbacks.ema import EMA
from src.checkpoint.averages.functions import ExponentialAverage, HalfLifeAverage
from tests.support.golden import load


class Holder(LightningModule):
    step_skipped = False

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.net = nn.Module()
        self.model.net.p = nn.Parameter(values)


def test_warm_up_agrees_with_the_original_code() -> None:
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
    assert ramped.rate(1) == pytest.approx(1.0), "the average starts at the weights"
    assert ramped.rate(10**6) == pytest.approx(average.rate(10**6))


def test_applied_averages_and_restored_raw_weights() -> None:
    module = Holder(torch.randn(5).bfloat16())
    raw = module.model.net.p.detach().clone()
    shadow = torch.randn(5)
    ema = EMA({"default": ExponentialAverage()})
    ema.shadows = {"default": {"p": shadow.clone()}}
    with ema.applied(module):
        assert torch.equal(module.model.net.p, shadow.bfloat16())
        with pytest.raises(RuntimeError, match="replaced the raw weights"):
            ema.on_save_checkpoint(Trainer(logger=False, accelerator="cpu"), module, {})
    assert torch.equal(module.model.net.p, raw)
    assert torch.equal(ema.shadows["default"]["p"], shadow), "averages must stay float32 for a bfloat16 net"


def in_fit(ema: EMA, module: Holder) -> Trainer:
    trainer = Trainer(logger=False, accelerator="cpu")
    ema.on_fit_start(trainer, module)
    return trainer


def test_loaded_averages_get_the_strides_of_the_parameters() -> None:
    weight = torch.randn(4, 3, 3, 3)
    module = Holder(weight.to(memory_format=torch.channels_last))
    ema = EMA({"default": ExponentialAverage(0.5, warmup=False)})
    ema.on_load_checkpoint(Trainer(logger=False), module, {"ema": {"default": {"p": weight.clone()}}})
    in_fit(ema, module)
    shadow = ema.shadows["default"]["p"]
    assert shadow.stride() == module.model.net.p.stride() != weight.stride()
    assert torch.equal(shadow, weight)
    in_fit(ema, module)
    assert ema.shadows["default"]["p"].data_ptr() == shadow.data_ptr(), "a second start must keep the storage"


def test_an_update_does_not_traverse_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Holder(torch.zeros(3))
    ema = EMA({name: ExponentialAverage(0.5, warmup=False) for name in ("a", "b")})
    trainer = in_fit(ema, module)
    ema.update(module.model.net)
    calls: list[int] = []
    monkeypatch.setattr(nn.Module, "named_parameters", lambda *_args, **_kwargs: calls.append(1) or iter(()))
    with torch.no_grad():
        module.model.net.p += 1
    ema.update(module.model.net)
    assert not calls
    assert ema.shadows["a"]["p"].tolist() == ema.shadows["b"]["p"].tolist() == [0.5] * 3
    monkeypatch.undo()
    # Parameters replaced by a strategy and averages loaded from a file are used.
    module.model.net.p = nn.Parameter(torch.full((3,), 4.5))
    ema.on_load_checkpoint(trainer, module, {"ema": {name: {"p": torch.full((3,), 2.5)} for name in ("a", "b")}})
    in_fit(ema, module)
    ema.update(module.model.net)
    assert ema.shadows["a"]["p"].tolist() == [3.5] * 3


def test_an_update_is_one_operation_per_average() -> None:
    module = Holder(torch.zeros(3))
    module.model.net.q = nn.Parameter(torch.ones(2))
    ema = EMA({name: ExponentialAverage(0.5) for name in ("a", "b")})
    in_fit(ema, module)
    names: list[str] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    with Record():
        ema.update(module.model.net)
    assert names == ["aten._foreach_lerp_.Scalar"] * 2


def test_applied_averages_include_the_last_step() -> None:
    module = Holder(torch.zeros(3))
    ema = EMA({"default": ExponentialAverage(0.5, warmup=False)})
    trainer = in_fit(ema, module)
    ema.update(module.model.net)
    for step in (1, 2):
        with torch.no_grad():
            module.model.net.p.fill_(8.0)
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
        ema.on_train_batch_end(trainer, module, None, None, 0)
        with ema.applied(module):
            assert module.model.net.p.tolist() == [8 * (1 - 0.5**step)] * 3
        assert module.model.net.p.tolist() == [8.0] * 3
