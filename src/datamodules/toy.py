"""Points in the plane from known distributions, for tests and for pictures of score fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError
from ..noise import normal, uniform
from .addressing import AddressedLoader, address_only
from .addressing.module import AddressedDataModule

_MODES = 8
_MODE_STD = 0.1
_SPIRAL_STD = 0.05
_TURNS = 1.5


def _means() -> Tensor:
    radius = math.sqrt(2 * (1 - _MODE_STD**2))
    angle = torch.arange(_MODES, dtype=torch.float64) * (2 * math.pi / _MODES)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def gaussians(u: Tensor, z: Tensor) -> Tensor:
    """Return points of eight equal Gaussians of standard deviation 0.1 on a circle.

    Args:
        u: (B, 2) uniform.
        z: (B, 2) standard normal.

    Returns:
        (B, 2) points; like those of the other functions, of mean zero and mean squared norm 2.
    """
    return _means().to(u)[(u[:, 0] * _MODES).long().clamp(max=_MODES - 1)] + _MODE_STD * z


def checkerboard(u: Tensor, z: Tensor) -> Tensor:
    """Return points uniform on the eight squares with even i + j of a 4 x 4 board (arguments as in ``gaussians``)."""
    column = (u[:, 0] * 4).floor().clamp(max=3)
    row = 2 * (u[:, 1] * 2).floor().clamp(max=1) + column % 2
    # The first two coordinates determine the square by two and one bits; their remainders are uniform again.
    x = torch.stack([u[:, 0] * 4, row + (u[:, 1] * 2).frac()], dim=-1) - 2
    return x / math.sqrt(4 / 3)


def spirals(u: Tensor, z: Tensor) -> Tensor:
    """Return points on two spirals of one and a half turns, uniform over the disc's area (arguments as in
    ``gaussians``).
    """
    radius = u[:, 0].sqrt() * math.sqrt(2 * (2 - 2 * _SPIRAL_STD**2))
    angle = u[:, 0].sqrt() * (2 * math.pi * _TURNS)
    sign = torch.where(u[:, 1] < 0.5, 1.0, -1.0).to(u)
    return (sign * radius)[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1) + _SPIRAL_STD * z


_KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gaussians": gaussians,
    "checkerboard": checkerboard,
    "spirals": spirals,
}


class ToyBatches(Dataset[dict[str, Any]]):
    """Points generated on request.

    Args:
        kind: name of the distribution.
        seed: seed of the draws.
        count: number of points in an epoch.
    """

    def __init__(self, kind: str, seed: int, count: int) -> None:
        self.kind, self.seed, self.count = kind, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, address: object) -> dict[str, Any]:
        address = address_only(address)
        purpose, step = ("toy", address.step) if address.step is not None else ("toy evaluation", 0)
        return {"x": toy_points(self.kind, self.seed, purpose, step, address.position), **address.to_batch()}


def toy_points(kind: str, seed: int, purpose: str, step: int, index: Tensor) -> Tensor:
    """Return points of a distribution by address.

    Args:
        kind: ``gaussians``, ``checkerboard`` or ``spirals``.
        seed: seed of the draws.
        purpose: what the points are for.
        step: step of the process.
        index: (B,) int64 addresses.

    Returns:
        (B, 2) float32.
    """
    u = uniform(seed, f"{purpose} uniform", step, index, (2,))
    z = normal(seed, f"{purpose} normal", step, index, (2,))
    return _KINDS[kind](u, z)


class ToyDataModule(AddressedDataModule):
    """An endless stream of points in the plane, with mean zero and variance about 1 in each coordinate.

    Training point ``position`` of ``step`` is a function of (seed, step, position); an epoch is only a number of steps.
    Batches contain ``x`` (B, 2) float32, ``index``, ``position`` and, in training, ``step`` and ``epoch``.

    Args:
        kind: ``gaussians``, ``checkerboard`` or ``spirals``.
        dim: must be 2.
        steps_per_epoch: optimizer steps of an epoch.
        eval_samples: points of the validation and the test set, which are the same for every epoch.
        data_range: must be ``centered``: nets see the points as they are.
        global_batch_size: points of one optimizer step.
        eval_batch_size: points of one evaluation batch on one device.
        num_workers: loader processes for each device.
        pin_memory: page-locked batches, if there is a CUDA device.
        seed: seed of the draws.
    """

    def __init__(
        self,
        *,
        kind: Literal["gaussians", "checkerboard", "spirals"] = "gaussians",
        dim: int = 2,
        steps_per_epoch: int = 1000,
        eval_samples: int = 1000,
        data_range: str = "centered",
        global_batch_size: int = 512,
        eval_batch_size: int = 1000,
        num_workers: int = 0,
        pin_memory: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(
            global_batch_size=global_batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )
        if kind not in _KINDS:
            raise UserError(f"datamodule.kind={kind} is unknown: choose from {', '.join(_KINDS)}")
        if dim != 2:
            raise UserError(f"datamodule.dim={dim}: the toy distributions have two dimensions")
        if data_range != "centered":
            raise UserError(f"datamodule.data_range={data_range}: points are not confined to [0, 1], use centered")
        self.kind = kind
        self.dim = dim
        self.steps_per_epoch = steps_per_epoch
        self.eval_samples = eval_samples
        self.data_range = data_range

    @property
    def shape(self) -> tuple[int]:
        """Shape (2,) of a point."""
        return (self.dim,)

    @property
    def channel_mean(self) -> list[float]:
        """The mean, which is zero."""
        return [0.0] * self.dim

    @property
    def mixture(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (K,), means (K, 2) and standard deviations (K,), float64, of the Gaussian mixture.

        With noise, component k is N(alpha mean_k, (alpha^2 std_k^2 + sigma^2) I), so the exact score has a closed form.

        Raises:
            ValueError: if ``kind`` is not a mixture.
        """
        if self.kind != "gaussians":
            raise ValueError(f"{self.kind} is no Gaussian mixture")
        equal = torch.full((_MODES,), 1 / _MODES, dtype=torch.float64)
        return equal, _means(), torch.full((_MODES,), _MODE_STD, dtype=torch.float64)

    def sample(self, count: int) -> Tensor:
        """Return the first ``count`` evaluation points, (count, 2) float32."""
        return toy_points(self.kind, self.seed, "toy evaluation", 0, torch.arange(count))

    def train_dataloader(self) -> AddressedLoader:
        count = self.steps_per_epoch * self.global_batch_size
        return self.train_loader(ToyBatches(self.kind, self.seed, count), count, shuffle=False)

    def val_dataloader(self) -> AddressedLoader | list[Any]:
        return self.eval_loader(ToyBatches(self.kind, self.seed, self.eval_samples), self.eval_samples)

    def test_dataloader(self) -> AddressedLoader | list[Any]:
        return self.val_dataloader()
