"""Common part of image sets and toy distributions: addressed loaders that know the trainer's topology."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from ...stored_values import IDENTITY, StoredValues
from .batches import AddressedBatchSampler, AddressedLoader, ShardSampler

_log = logging.getLogger(__name__)


class AddressedDataModule(LightningDataModule):
    """Loaders whose batches depend only on (seed, optimizer step, rank).

    Without a trainer the loaders are those of one process at step 0.

    Args:
        global_batch_size: samples of one optimizer step, over all processes and accumulated micro-batches.
        eval_batch_size: samples of one evaluation batch on one device.
        seed: seed of data order, flips and dequantization.
        num_workers: loader processes for each device; 0 (gather in the main process) is the fastest for small images.
        pin_memory: page-locked batches, if there is a CUDA device.
    """

    def __init__(
        self, *, global_batch_size: int, eval_batch_size: int, seed: int, num_workers: int = 0, pin_memory: bool = True
    ) -> None:
        super().__init__()
        self.global_batch_size = global_batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    parts: tuple[str, ...] = ()
    """The splits that ``all`` joins; empty for a distribution, whose evaluation points are one set."""

    @property
    def data_name(self) -> str:
        """Short name of the data, such as ``digits``."""
        return type(self).__name__.removesuffix("DataModule").lower()

    @property
    def values(self) -> StoredValues:
        """Meaning of the numbers of a batch; unchanged continuous data by default."""
        return IDENTITY

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return 0

    @property
    def dequantized(self) -> bool:
        """Whether evaluation batches are already dequantized."""
        return False

    def settings_from_data(self) -> dict[str, Any]:
        """Return settings of this datamodule that depend on the data, for the configuration in the checkpoint."""
        return {}

    @property
    def world_size(self) -> int:
        """Number of processes of the trainer; 1 without one."""
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def rank(self) -> int:
        """Global rank of this process; 0 without a trainer."""
        return 0 if self.trainer is None else self.trainer.global_rank

    def completed_steps(self) -> int:
        """Optimizer steps that the trainer has finished; 0 without one."""
        return 0 if self.trainer is None else self.trainer.global_step

    def train_loader(
        self, dataset: Dataset[dict[str, Any]], count: int, *, shuffle: bool = True, device: torch.device | None = None
    ) -> AddressedLoader:
        """Return a loader over the rest of the current epoch of ``count`` samples, which are on ``device`` (None: the
        host).
        """
        sampler = AddressedBatchSampler(
            count,
            self.global_batch_size,
            seed=self.seed,
            world_size=self.world_size,
            rank=self.rank,
            accumulate=1 if self.trainer is None else self.trainer.accumulate_grad_batches,
            completed_steps=self.completed_steps,
            shuffle=shuffle,
            device=device,
        )
        return self._loader(dataset, sampler, device)

    def eval_loader(
        self, dataset: Dataset[dict[str, Any]], count: int, *, device: torch.device | None = None
    ) -> AddressedLoader | list[Any]:
        """Return a loader over this process' shard of ``count`` samples; no loader if there are too few for all
        processes.
        """
        if count < self.world_size:
            _log.warning("evaluation is skipped: %d sample(s) for %d process(es)", count, self.world_size)
            return []
        sampler = ShardSampler(count, self.eval_batch_size, world_size=self.world_size, rank=self.rank, device=device)
        return self._loader(dataset, sampler, device)

    def _loader(
        self,
        dataset: Dataset[dict[str, Any]],
        sampler: AddressedBatchSampler | ShardSampler,
        device: torch.device | None,
    ) -> AddressedLoader:
        # Samples on a device are gathered there, so workers and page-locked memory are useless.
        on_host = device is None
        return AddressedLoader(
            dataset,
            sampler,
            num_workers=self.num_workers if on_host else 0,
            pin_memory=self.pin_memory and on_host,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the plain numbers that give a step counter its meaning."""
        return {"seed": self.seed, "global_batch_size": self.global_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn if the checkpoint was trained with other batches or another data order."""
        for name, value in self.state_dict().items():
            if state_dict.get(name, value) != value:
                _log.warning(
                    "the checkpoint was trained with %s=%s and resumes with %s: the data order changes",
                    name,
                    state_dict[name],
                    value,
                )
