"""Train the digit classifier that ships with the project: ``python -m src.metrics.extractors.train_digits``.

Shifts, noise and mixtures of two images (mixup, Zhang et al. 2018) keep it from being confident about images that
are not digits. Half a minute on two cores; the test accuracy goes into the metadata of the file.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...io.safetensors import write_safetensors
from ...runtime.command import guarded
from ...stored_values import BYTES
from .digits import WEIGHTS, DigitNet, digit_images, digit_split

_log = logging.getLogger(__name__)
_SEED, _EPOCHS, _BATCH, _PEAK_LR = 0, 100, 100, 3e-3


def train_digits(path: Path = WEIGHTS, epochs: int = _EPOCHS) -> float:
    """Train, write the weights to ``path`` and return the accuracy in [0, 1] on the held-out images."""
    pixels, labels = digit_images()
    x, y = BYTES.to_model(pixels, "centered"), F.one_hot(labels, 10).float()
    learn, test = digit_split(len(x))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        net = DigitNet()
        _fit(net, x[learn], y[learn], epochs)
    with torch.no_grad():
        accuracy = float((net.eval()(x[test]).argmax(dim=1) == labels[test]).double().mean())
    metadata = {"test_accuracy": f"{accuracy:.6f}", "test_images": str(len(test)), "seed": str(_SEED)}
    write_safetensors(path, net.state_dict(), metadata)
    return accuracy


def _fit(net: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=_PEAK_LR, weight_decay=0.01)
    steps = epochs * (len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_LR, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(x)), _BATCH):
            images, targets = _augment(x[chosen], y[chosen])
            loss = F.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Shift by up to one pixel, mix a third of the batch in pairs, add noise of a twentieth of the range."""
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    offsets = torch.randint(-1, 2, (len(x), 2)) * (torch.rand(len(x), 1) < 0.5) + 1
    rows = offsets[:, :1] + torch.arange(8)
    columns = offsets[:, 1:] + torch.arange(8)
    x = padded[torch.arange(len(x))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]
    weight = torch.rand(len(x), 1).where(torch.rand(len(x), 1) < 1 / 3, 1.0)
    partner = torch.randperm(len(x))
    x = torch.lerp(x[partner], x, weight[:, :, None, None])
    y = torch.lerp(y[partner], y, weight)
    return x + 0.1 * torch.randn_like(x), y


def main() -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.monotonic()
    _log.info("accuracy %.4f on held-out digits, %.0f s: %s", train_digits(), time.monotonic() - start, WEIGHTS)


if __name__ == "__main__":
    sys.exit(guarded(main))
