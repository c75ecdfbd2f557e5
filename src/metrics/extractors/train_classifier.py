"""Train the classifier whose features ``metric=cifar_classifier`` compares.

    python -m src.metrics.extractors.train_classifier --data cifar10.npz --out data/cifar_classifier.safetensors

The file is that of ``datamodule=npz``. Some ten seconds on a data-center GPU; on a CPU take a smaller ``--width``.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...config.location import program_command
from ...errors import UserError
from ...io.npz import read_npz
from ...io.safetensors import write_safetensors
from ...runtime.command import guarded
from ...stored_values import BYTES
from .image_classifier import ClassifierNet

_log = logging.getLogger(__name__)


def train_classifier(
    data: Path,
    out: Path,
    *,
    epochs: int = 12,
    width: int = 64,
    batch: int = 512,
    peak_lr: float = 0.2,
    flip: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> float:
    """Train on the split ``train`` of ``data``, write the weights to ``out``.

    Stochastic gradient descent with momentum on one cycle of the learning rate, shifts by an eighth of the image,
    mirroring, smoothed labels; bf16 on a GPU.

    Returns:
        Accuracy in [0, 1] on the split ``test``.

    Raises:
        UserError: ``data`` lacks images or labels of a split.
    """

    (images, labels), (test_images, test_labels) = (_split(data, name, device) for name in ("train", "test"))
    sizes = {"channels": images.shape[1], "num_classes": int(labels.max()) + 1, "width": width}
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        net = ClassifierNet(**sizes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch has no overload of both
        _fit(net, images, labels, epochs, min(batch, len(images)), peak_lr, flip)
    with torch.no_grad():
        net.eval()
        right = [
            (net(BYTES.to_model(part, "centered")).argmax(1) == truth).sum()
            for part, truth in zip(torch.split(test_images, 1000), torch.split(test_labels, 1000), strict=True)
        ]
    accuracy = float(torch.stack(right).sum()) / len(test_labels)
    metadata = {name: str(value) for name, value in sizes.items()}
    metadata |= {"test_accuracy": f"{accuracy:.6f}", "epochs": str(epochs), "seed": str(seed)}
    write_safetensors(out, {name: value.cpu().contiguous() for name, value in net.state_dict().items()}, metadata)
    return accuracy


def _split(path: Path, name: str, device: str) -> tuple[Tensor, Tensor]:
    other = "test" if name == "train" else "train"
    arrays = read_npz(path, skip=(f"{other}_images", f"{other}_labels"))
    if missing := [array for array in (f"{name}_images", f"{name}_labels") if array not in arrays]:
        raise UserError(f"{path} has no array {missing[0]}: give a file as for datamodule=npz, with both splits")
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"].astype(np.int64)
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def _fit(
    net: ClassifierNet, images: Tensor, labels: Tensor, epochs: int, batch: int, peak_lr: float, flip: bool
) -> None:
    optimizer = torch.optim.SGD(net.parameters(), peak_lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps_per_epoch = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_lr, total_steps=epochs * steps_per_epoch, pct_start=0.25, cycle_momentum=False
    )
    device = images.device
    for _ in range(epochs):
        order = torch.randperm(len(images), device=device)
        for chosen in torch.split(order[: steps_per_epoch * batch], batch):
            x = _augment(images[chosen], flip)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = net(x)
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _augment(images: Tensor, flip: bool) -> Tensor:
    """Floats in [-1, 1], shifted by up to an eighth of the image and, with ``flip``, mirrored with probability 1/2."""
    count, _, height, width = images.shape
    reach = math.ceil(height / 8)
    padded = F.pad(BYTES.to_model(images, "centered"), (reach,) * 4)
    corner = torch.randint(2 * reach + 1, (2, count, 1), device=images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    if flip:
        mirrored = torch.rand(count, 1, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    each = torch.arange(count, device=images.device)[:, None, None]
    # Advanced indices around a slice come first: (B, H, W, C), which is what channels_last stores.
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog=program_command("metrics.extractors.train_classifier"), description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=".npz file as for datamodule=npz")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=int, default=64, help="channels of the first layer (default 64)")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--no-flip", dest="flip", action="store_false", help="for digits and other text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.monotonic()
    accuracy = train_classifier(**arguments)
    _log.info("accuracy %.4f on the test split, %.0f s: %s", accuracy, time.monotonic() - start, arguments["out"])


if __name__ == "__main__":
    sys.exit(guarded(main))
