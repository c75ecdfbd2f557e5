"""Batches prepared on the device equal those prepared on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from src.datamodules.augmentation.geometric import GeometricAugmentation, transformed
from src.noise import Address
from src.runtime.precision import set_float32_precision
from tests.datamodules.support.memory import MemoryDataModule
from tests.gpu.conftest import Record


def to(device: torch.device, batch: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


@pytest.mark.parametrize("dequantize", [False, True])
@pytest.mark.parametrize("data_range", ["unit", "centered"])
def test_batches_match_single_images_on_the_cpu(device: torch.device, dequantize: bool, data_range: str) -> None:
    module = MemoryDataModule(random_flip=True, dequantize=dequantize, data_range=data_range)
    batch = next(iter(module.train_dataloader()))
    prepared = module.on_after_batch_transfer(to(device, batch), 0)["x"]
    assert prepared.device.type == device.type
    # A new module, because flips of an epoch are cached.
    fresh = MemoryDataModule(random_flip=True, dequantize=dequantize, data_range=data_range)
    one_by_one = [fresh.on_after_batch_transfer(row(batch, i), 0)["x"] for i in range(len(batch["x"]))]
    torch.testing.assert_close(prepared.cpu(), torch.cat(one_by_one), rtol=0, atol=2e-7)


def row(batch: dict[str, Any], i: int) -> dict[str, Any]:
    return {key: value[i : i + 1] if isinstance(value, Tensor) else value for key, value in batch.items()}


def test_images_stored_on_the_device(device: torch.device) -> None:
    settings: dict[str, Any] = {"random_flip": True, "dequantize": True, "seed": 5}
    host, module = MemoryDataModule(**settings, on_device=False), MemoryDataModule(**settings, on_device=True)
    module.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        **{"world_size": 1, "global_rank": 0, "global_step": 0, "accumulate_grad_batches": 1},
        precision_plugin=SimpleNamespace(convert_input=lambda x: x),
    )
    count = 0
    for expected, batch in zip(host.train_dataloader(), module.train_dataloader(), strict=True):
        found, expected = module.on_after_batch_transfer(batch, 0), host.on_after_batch_transfer(expected, 0)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, Tensor):
                assert found[name].device.type == device.type
                torch.testing.assert_close(found[name].cpu(), value, rtol=0, atol=2e-7)
        count += 1
    assert count == 5


@pytest.mark.parametrize("tf32", [False, True], ids=["full", "tf32"])
def test_augmentation_matches_float64_on_the_cpu(device: torch.device, record: Record, tf32: bool) -> None:
    # TF32, which training may allow, must not change the geometry.
    set_float32_precision("high" if tf32 else "highest")
    index = torch.arange(64)
    x = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    augmentation = GeometricAugmentation(0.3)
    moved, labels = augmentation(x.to(device), Address(1, 2, index.to(device)))
    assert moved.device.type == device.type
    expected = augmentation.draw(Address(1, 2, index)).double()
    torch.testing.assert_close(labels.cpu().double(), expected, rtol=0, atol=2e-6)
    in_double = transformed(x.double(), expected).float()
    error = float((moved.cpu() - in_double).abs().max())
    record(augmentation=error)
    assert error < 1e-4
    assert float((in_double - x).abs().mean()) > 0.05
