"""Bits per dimension and the training objective on a split: values for each sample, their mean and its error."""

from __future__ import annotations

import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from ....distributed import failing_together, on_rank_zero
from ....errors import UserError
from ....io.hashing import settings_hash
from ....io.npz import write_npz
from ....noise import Address
from ....progress import Progress
from ....runtime.precision import full_precision
from ....sampling.ode.bits_per_dim import BitsPerDim
from ....sde import ScoreModel
from ....sinks.files import NpzFiles
from ....sinks.record import Result
from ....stored_values import values_of
from ... import checkpoint_config
from ..environment import Environment
from ..subjects import Subject
from .scores import settings_for_cache_key, slug

_log = logging.getLogger(__name__)

_ADDRESS_KEYS = ("x", "index", "position", "step", "epoch")

SplitValues = Callable[[ScoreModel, Tensor, Address, Mapping[str, Tensor]], Tensor]
"""(model, x (B, *d), address, condition) -> (B, columns) float64."""


class SplitJob(ABC):
    """A quantity of each sample of a split of the data; subclasses define the quantity.

    Values do not depend on the number of processes, and depend on the batch size only by rounding: random numbers are
    addressed by the sample's index in the split. Values of an interrupted call are not computed again.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        subject: the checkpoint and its weights.
        node: name of the node that describes how the quantity is computed.
        seed: seed of the random numbers.
    """

    task: str
    columns: tuple[str, ...]
    what: str

    def __init__(self, cfg: DictConfig, subject: Subject, node: str, seed: int) -> None:
        self.of, self.label, self.subject = subject, subject.label, subject.identity
        self.node = checkpoint_config.node(subject.config, node, cfg.get(node))
        datamodule = checkpoint_config.data_node(subject.config, cfg.get("datamodule"))
        self.stored_as, self.data_range = values_of(datamodule), datamodule.get("data_range", "centered")
        self.data_name = checkpoint_config.data_name(datamodule)
        # Points of a distribution have no splits.
        self.has_splits = "path" in datamodule or len(checkpoint_config.sample_shape(datamodule)) == 3
        self.split = cfg.split if self.has_splits else "evaluation"
        self.seed = seed
        self.settings = {
            "split": self.split,
            "limit": cfg.limit,
            "seed": self.seed,
            node: self.node,
            "datamodule": settings_for_cache_key(datamodule),
        }
        self._data = {**datamodule, **({"test_split": cfg.split} if self.has_splits and cfg.split != "test" else {})}
        # Wrong settings raise here.
        self.dequantized = self.data(cfg.batch_size).dequantized

    @abstractmethod
    def values(self, environment: Environment, model: ScoreModel) -> SplitValues:
        """How the quantity is computed."""

    @abstractmethod
    def summary(self, table: Tensor) -> tuple[dict[str, float | None], dict[str, Any]]:
        """The values and conditions of a result, from the table (N, columns)."""

    def data(self, batch_size: int) -> Any:
        """The datamodule, with batches of ``batch_size`` over all processes."""
        return checkpoint_config.build("datamodule", {**self._data, "eval_batch_size": batch_size})

    def prepare(self, environment: Environment) -> SplitWork:
        """Load the data."""
        datamodule = self.data(environment.cfg.batch_size * environment.fabric.world_size)
        on_rank_zero(datamodule.prepare_data)
        datamodule.setup("test")
        loader = datamodule.test_dataloader()
        if len(loader) == 0:
            raise UserError(f"split={self.split} has no samples: choose another split")
        return SplitWork(self, environment, loader, datamodule.on_after_batch_transfer)


@dataclass(frozen=True)
class SplitWork:
    """A quantity to be computed for each sample of a split.

    Attributes:
        job: which quantity to compute.
        environment: processes and folder.
        loader: batches of the split.
        transform: converts the stored values of a batch to floats on the device.
    """

    job: SplitJob
    environment: Environment
    loader: Any
    transform: Callable[[dict[str, Any], int], dict[str, Any]]

    @property
    def name(self) -> str:
        """Name of the file of values."""
        job = self.job
        return f"{job.task}-{slug(job.label)}-{settings_hash([job.subject, job.settings])}"

    @property
    def parts(self) -> NpzFiles:
        """The values computed so far."""
        shape = (len(self.job.columns),)
        return NpzFiles(self.environment.folder / f".{self.name}", "values", shape, "float64")

    def run(self) -> Result:
        """Compute the missing values and summarize all."""
        job = self.job
        model, notes = self.environment.model(job.of)
        # All processes look up the stored values before one of them adds more.
        stored = torch.tensor(sorted(on_rank_zero(self.parts.present)), dtype=torch.int64)
        with failing_together():
            self._compute(model, stored)
        index, table = on_rank_zero(self._collect)
        values, conditions = job.summary(table)
        about = {"ckpt_path": str(job.of.path), "step": job.of.step, "values": f"{self.name}.npz"}
        conditions = {
            "split": job.split,
            "samples": len(index),
            "seed": job.seed,
            "weights": job.of.weights,
            **conditions,
        }
        return Result(
            job.task, job.label, job.subject, job.settings, values, conditions, notes=list(notes), about=about
        )

    def clean_up(self) -> None:
        """Delete the partial files, which are joined in one file."""
        shutil.rmtree(self.parts.folder, ignore_errors=True)

    def _compute(self, model: ScoreModel, stored: Tensor) -> None:
        """Compute this process' share of the values that are not ``stored`` (N,), by index; must not wait for other
        processes.
        """
        job, fabric, limit = self.job, self.environment.fabric, self.environment.cfg.limit
        values, parts = job.values(self.environment, model), self.parts
        count = sum(len(address.index) for address in self.loader.sampler)
        total = min(count, limit) if limit is not None else count
        with Progress(job.what, total - len(stored), enabled=fabric.is_global_zero) as progress:
            for batch in self.loader:
                index = batch["index"]
                wanted = ~torch.isin(index, stored) if limit is None else ~torch.isin(index, stored) & (index < limit)
                mine = wanted & (index % fabric.world_size == fabric.global_rank)
                if bool(mine.any()):
                    moved = {
                        key: value[mine].to(fabric.device) if isinstance(value, Tensor) else value
                        for key, value in batch.items()
                    }
                    moved = self.transform(moved, 0)
                    condition = {key: value for key, value in moved.items() if key not in _ADDRESS_KEYS}
                    address = Address(job.seed, 0, moved["index"])
                    table = _fitting(partial(values, model, moved["x"], address, condition), int(mine.sum()))
                    parts.write(index[mine], table.to("cpu", torch.float64))
                progress.add(int(wanted.sum()))

    def _collect(self) -> tuple[Tensor, Tensor]:
        """Join the values (N, columns) of all samples by index (N,) and write them to an npz file by column name."""
        present = sorted(self.parts.present())
        table = self.parts.read(present)
        index = torch.tensor(present)
        arrays = {column: table[:, i].numpy() for i, column in enumerate(self.job.columns)}
        path = self.environment.folder / f"{self.name}.npz"
        write_npz(path, {"index": np.array(present, dtype=np.int64), **arrays})
        return index, table


class BitsPerDimJob(SplitJob):
    """Bits per dimension by the probability-flow ODE, in float32."""

    task = "bits_per_dim"
    columns = ("bits_per_dim", "standard_error", "nfe")
    what = "bits per dimension"

    def __init__(self, cfg: DictConfig, subject: Subject) -> None:
        super().__init__(cfg, subject, "likelihood", int(cfg.seed))
        measure: BitsPerDim = checkpoint_config.build("likelihood", self.node)
        # The range is that of the model; the bit depth is that of the data.
        self.measure = measure.for_data(self.stored_as, self.data_range, self.dequantized)

    def values(self, environment: Environment, model: ScoreModel) -> SplitValues:
        def of(model: ScoreModel, x: Tensor, address: Address, cond: Mapping[str, Tensor]) -> Tensor:
            with full_precision(x.device.type):
                output = self.measure.output(model, x, address, cond)
            return torch.stack([output.bits_per_dim.double(), output.standard_error.double(), output.nfe.double()], 1)

        return of

    def summary(self, table: Tensor) -> tuple[dict[str, float | None], dict[str, Any]]:
        bits, errors, nfe = table.unbind(1)
        likelihood = self.measure.likelihood
        values = {
            "bits_per_dim": float(bits.mean()),
            "standard_error": standard_error(bits),
            # Error of the mean from the trace estimate alone; the standard error includes it already.
            "trace_standard_error": float(errors.square().sum().sqrt()) / len(errors),
        }
        if self.stored_as.levels is None:
            values["nats_per_dim"] = float(bits.mean()) * math.log(2)
        probes = f", {likelihood.probes} {likelihood.probe_kind}" if likelihood.divergence == "hutchinson" else ""
        conditions = {
            "divergence": likelihood.divergence + probes,
            "rtol": likelihood.tolerance.rtol,
            "atol": likelihood.tolerance.atol,
            "eps": likelihood.eps,
            "data": self.measure.unit,
            "data_range": self.data_range,
            "data_set": self.data_name,
            "nfe": float(nfe.mean()),
        }
        return values, conditions


class LossJob(SplitJob):
    """The training objective in evaluation mode, with the noise of the run's own validation.

    On the validation split and with the same weights, the value equals the run's ``val/loss``.
    """

    task = "loss"
    columns = ("loss",)
    what = "loss"

    def __init__(self, cfg: DictConfig, subject: Subject) -> None:
        super().__init__(cfg, subject, "objective", _noise_seed(subject.config, cfg.seed) + 1)
        self.objective = checkpoint_config.build("objective", self.node)
        self.settings["precision"] = cfg.precision
        self.settings["float32_matmul_precision"] = cfg.float32_matmul_precision
        # Stable targets are computed from the batch.
        self.of_batch = {"batch_size": cfg.batch_size} if self.objective.depends_on_batch else {}
        self.settings |= self.of_batch

    def values(self, environment: Environment, model: ScoreModel) -> SplitValues:
        def of(model: ScoreModel, x: Tensor, address: Address, cond: Mapping[str, Tensor]) -> Tensor:
            with torch.no_grad(), environment.fabric.autocast():
                losses: Tensor = self.objective(model, x, address, cond, train=False)
            return losses.double()[:, None]

        return of

    def summary(self, table: Tensor) -> tuple[dict[str, float | None], dict[str, Any]]:
        losses = table[:, 0]
        name = str(self.node["_target_"]).rpartition(".")[2]
        return {"loss": float(losses.mean()), "standard_error": standard_error(losses)}, {
            "objective": name,
            **self.of_batch,
        }


def _noise_seed(config: Mapping[str, Any], fallback: int) -> int:
    """The seed of a run's times and noises; older configurations have one seed for everything."""
    return int(config.get("seeds", {}).get("noise", config.get("seed", fallback)))


def standard_error(values: Tensor) -> float | None:
    """Standard error of the mean of independent values (N,); None for a single value."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None


def _fitting(compute: Callable[[], Tensor], count: int) -> Tensor:
    try:
        return compute()
    except torch.OutOfMemoryError as error:
        raise UserError(f"a batch of {count} does not fit into memory: lower batch_size") from error
