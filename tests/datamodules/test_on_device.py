"""Images kept on the device give the same batches, bit for bit, as images on the host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from src.datamodules.augmentation.geometric import GeometricAugmentation
from src.datamodules.image_batches import ImagePlacement
from src.errors import UserError
from tests.datamodules.support.memory import MemoryDataModule

SETTINGS: dict[str, Any] = {
    "random_flip": True,
    "dequantize": True,
    "seed": 5,
    "augmentation": GeometricAugmentation(0.3),
}


def batches(loader: str, completed: int = 0, **settings: Any) -> list[dict[str, Any]]:
    module = MemoryDataModule(eval_batch_size=3, **SETTINGS, **settings)
    module.completed_steps = lambda: completed
    return [module.on_after_batch_transfer(batch, 0) for batch in getattr(module, loader)()]


@pytest.mark.parametrize("completed", [0, 2, 5])
@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader", "test_dataloader"])
def test_batches_are_bit_identical(loader: str, completed: int) -> None:
    host, device = (batches(loader, completed, on_device=setting) for setting in (False, True))
    assert len(host) == len(device) > 0
    for expected, found in zip(host, device, strict=True):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            same = torch.equal(value, found[name]) if isinstance(value, Tensor) else value == found[name]
            assert same, name


def test_batches_are_made_on_the_device() -> None:
    # The meta device replaces the GPU: reading or copying a value would fail.
    module = MemoryDataModule(on_device=True, num_workers=3, **SETTINGS)
    module.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("meta")),
        **{"world_size": 1, "global_rank": 0, "global_step": 0, "accumulate_grad_batches": 1},
        precision_plugin=SimpleNamespace(convert_input=lambda x: x),
    )
    loader = module.train_dataloader()
    assert loader.num_workers == 0 and not loader.pin_memory
    count = 0
    for batch in loader:
        made = module.on_after_batch_transfer(batch, 0)
        assert {value.device.type for value in made.values() if isinstance(value, Tensor)} == {"meta"}
        count += 1
    assert count == 5
    assert module.train_dataloader().dataset.images is loader.dataset.images, "images must be uploaded once"


def test_auto_uses_the_gpu_only_with_enough_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    size, free = 40 * 3 * 4 * 4, [0]
    host, gpu = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 10**9))
    free[0] = 10 * size
    assert not ImagePlacement("auto").fits(size, host), "without a GPU images stay on the host"
    assert ImagePlacement("auto").fits(size, gpu) and ImagePlacement(True).fits(size, host)
    assert not ImagePlacement(False).fits(size, gpu)
    free[0] = 10 * size - 1
    assert not ImagePlacement("auto").fits(size, gpu)


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(UserError, match=r"datamodule\.on_device=gpu: give true, false or auto"):
        MemoryDataModule(on_device="gpu")
