"""A checkpoint trained on one device gives the same images on another."""

from __future__ import annotations

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from src.callbacks.run_record import RunRecord
from src.checkpoint.read import read_checkpoint
from src.checkpoint.restore import restore_model
from src.sampling.generation import Generation
from tests.gpu.conftest import Record
from tests.gpu.runs import config, fit
from tests.gpu.test_training import Save

CPU = torch.device("cpu")
STEPS = 60
IMAGES = 32


def checkpoint(device: torch.device, path: Path) -> Path:
    """Write a digits checkpoint after a short training on ``device``."""
    settings = OmegaConf.to_container(config(f"trainer.max_steps={STEPS}"), resolve=True)
    assert isinstance(settings, dict)
    record = RunRecord({str(key): value for key, value in settings.items()})
    fit(device, steps=STEPS, callbacks=[Save(STEPS, path), record])
    return path


def images(path: Path, device: torch.device, batch_size: int) -> Tensor:
    """Return the images of the checkpoint as bytes, made by its sampler in 10 steps."""
    model = restore_model(read_checkpoint(path)).to(device)
    sampler = instantiate(config("sampler.grid.steps=10").sampler, _convert_="all")
    generation = Generation(model, sampler, (1, 8, 8), seed=0, batch_size=batch_size, device=device)
    return torch.cat([batch.shown.cpu() for batch in generation.batches(range(IMAGES))])


def test_images_match_the_cpu(device: torch.device, record: Record, tmp_path: Path) -> None:
    path = checkpoint(device, tmp_path / "digits.ckpt")
    # Another batch size changes the order of summation on the CPU.
    found, expected = images(path, device, IMAGES), images(path, CPU, 12)
    difference = (found.int() - expected.int()).abs()
    equal = float((difference == 0).double().mean())
    record(equal_bytes=equal, largest_difference=int(difference.max()))
    assert found.dtype == torch.uint8 and found.shape == (IMAGES, 1, 8, 8)
    # The images are not constant and differ.
    assert float(expected.double().std()) > 20 and not torch.equal(expected[0], expected[1])
    assert equal > 0.98 and int(difference.max()) <= 4
