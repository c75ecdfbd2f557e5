"""Bits per dimension and training objective on a split: a value for each sample, then their mean and its error."""

from __future__ import annotations

import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...distributed import failing_together, on_rank_zero
from ...errors import UserError
from ...io.hashing import settings_hash
from ...io.npz import write_npz
from ...noise import Address
from ...precision import full_precision
from ...progress import Progress
from ...sampling.ode.bits_per_dim import BitsPerDim
from ...sde import ScoreModel
from ...sinks.files import NpzFiles
from ...sinks.record import Result
from .. import checkpoint_config
from .context import Context
from .scores import of_consequence, slug
from .subjects import Subject

_log = logging.getLogger(__name__)

_ADDRESS_KEYS = ("x", "index", "position", "step", "epoch")

Values = Callable[[ScoreModel, Tensor, Address, Mapping[str, Tensor]], Tensor]
"""(model, x (B, *d), address, condition) -> (B, columns) float64."""


class SplitJob(ABC):
    """A quantity of each sample of a split of the data. Subclasses say which.

    Values do not depend on the batch size, beyond rounding, and on the number of processes: random numbers are
    found by the sample's index in the split. Those that are there when a call is interrupted are not computed again.

    Args:
        context: the surroundings.
        subject: whose.
    """

    task: str
    columns: tuple[str, ...]
    what: str

    def __init__(self, context: Context, subject: Subject, node: str) -> None:
        cfg = context.cfg
        self.of, self.label, self.subject = subject, subject.label, subject.identity
        self.node = context.node(subject.config, node)
        datamodule = context.node(subject.config, "datamodule")
        self.is_image = len(checkpoint_config.sample_shape(datamodule)) == 3
        self.split = cfg.split if self.is_image else "evaluation"
        self.seed = self.seed_of(context)
        self.settings = {
            "split": self.split,
            "limit": cfg.limit,
            "seed": self.seed,
            node: self.node,
            "datamodule": of_consequence(datamodule),
        }
        self._data = {**datamodule, **({"test_split": cfg.split} if self.is_image else {})}
        self.datamodule = self._build(cfg.batch_size)

    def seed_of(self, context: Context) -> int:
        """Seed of the random numbers."""
        return int(context.cfg.seed)

    @abstractmethod
    def values(self, context: Context, model: ScoreModel) -> Values:
        """How the quantity is computed."""

    @abstractmethod
    def summary(self, table: Tensor) -> tuple[dict[str, float | None], dict[str, Any]]:
        """Values and conditions from the table (N, columns)."""

    def prepare(self, context: Context) -> None:
        self.datamodule = self._build(context.cfg.batch_size * context.fabric.world_size)
        on_rank_zero(self.datamodule.prepare_data)
        self.datamodule.setup("test")
        self.loader = self.datamodule.test_dataloader()
        if len(self.loader) == 0:
            raise UserError(f"split={self.split} holds no samples: choose another")

    def _build(self, batch_size: int) -> Any:
        return checkpoint_config.build("datamodule", {**self._data, "eval_batch_size": batch_size})

    def run(self, context: Context) -> Result:
        model, notes = context.model(self.of)
        name = f"{self.task}-{slug(self.label)}-{settings_hash([self.subject, self.settings])}"
        self._parts = parts = NpzFiles(context.folder / f".{name}", "values", (len(self.columns),), torch.float64)
        # What is there is looked up before anyone adds to it.
        there = torch.tensor(sorted(on_rank_zero(parts.present)), dtype=torch.int64)
        with failing_together():
            self._compute(context, model, parts, there)
        index, table = on_rank_zero(lambda: self._collect(context, parts, name))
        values, conditions = self.summary(table)
        about = {"ckpt_path": str(self.of.path), "step": self.of.step, "values": f"{name}.npz"}
        conditions = {
            "split": self.split,
            "samples": len(index),
            "seed": self.seed,
            "weights": self.of.weights,
            **conditions,
        }
        return Result(
            self.task, self.label, self.subject, self.settings, values, conditions, notes=list(notes), about=about
        )

    def clean_up(self) -> None:
        shutil.rmtree(self._parts.folder, ignore_errors=True)

    def _compute(self, context: Context, model: ScoreModel, parts: NpzFiles, there: Tensor) -> None:
        """This process' share of the values that are not ``there`` (N,), by index; it must not wait for others."""
        fabric, limit = context.fabric, context.cfg.limit
        values = self.values(context, model)
        count = sum(len(address.index) for address in self.loader.sampler)
        total = min(count, limit) if limit is not None else count
        with Progress(self.what, total - len(there), enabled=fabric.is_global_zero) as progress:
            for batch in self.loader:
                index = batch["index"]
                wanted = ~torch.isin(index, there) if limit is None else ~torch.isin(index, there) & (index < limit)
                mine = wanted & (index % fabric.world_size == fabric.global_rank)
                if bool(mine.any()):
                    moved = {
                        key: value[mine].to(fabric.device) if isinstance(value, Tensor) else value
                        for key, value in batch.items()
                    }
                    moved = self.datamodule.on_after_batch_transfer(moved, 0)
                    condition = {key: value for key, value in moved.items() if key not in _ADDRESS_KEYS}
                    address = Address(self.seed, 0, moved["index"])
                    table = _fitting(partial(values, model, moved["x"], address, condition), int(mine.sum()))
                    parts.write(index[mine], table.to("cpu", torch.float64))
                progress.add(int(wanted.sum()))

    def _collect(self, context: Context, parts: NpzFiles, name: str) -> tuple[Tensor, Tensor]:
        """All samples' values (N, columns) by their index (N,), written to an npz file by the columns' names."""
        present = sorted(parts.present())
        table = parts.read(present)
        index = torch.tensor(present)
        arrays = {column: table[:, i].numpy() for i, column in enumerate(self.columns)}
        write_npz(context.folder / f"{name}.npz", {"index": np.array(present, dtype=np.int64), **arrays})
        return index, table


class BitsPerDimJob(SplitJob):
    """Bits per dimension by the probability-flow ODE, in float32."""

    task = "bits_per_dim"
    columns = ("bits_per_dim", "standard_error", "nfe")
    what = "bits per dimension"

    def __init__(self, context: Context, subject: Subject) -> None:
        super().__init__(context, subject, "likelihood")
        if not self.is_image:
            # Points are no bytes.
            self.node["likelihood"] = {**self.node["likelihood"], "data_range": "continuous"}
        self.measure: BitsPerDim = checkpoint_config.build("likelihood", self.node)
        if getattr(self.datamodule, "dequantize_eval", False):
            self.measure.dequantize = False

    def values(self, context: Context, model: ScoreModel) -> Values:
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
            # Of the mean through the trace estimate alone; it is part of the standard error already.
            "trace_standard_error": float(errors.square().sum().sqrt()) / len(errors),
        }
        probes = f", {likelihood.probes} {likelihood.probe_kind}" if likelihood.divergence == "hutchinson" else ""
        conditions = {
            "divergence": likelihood.divergence + probes,
            "rtol": likelihood.tolerance.rtol,
            "atol": likelihood.tolerance.atol,
            "eps": likelihood.eps,
            "data": "density" if likelihood.data_range == "continuous" else "bytes, uniform dequantization",
            "nfe": float(nfe.mean()),
        }
        return values, conditions


class LossJob(SplitJob):
    """The training objective in evaluation mode, with the noise of the run's own validation: on the split and with
    the weights that it uses, the value is its ``val/loss``."""

    task = "loss"
    columns = ("loss",)
    what = "loss"

    def __init__(self, context: Context, subject: Subject) -> None:
        super().__init__(context, subject, "objective")
        self.objective = checkpoint_config.build("objective", self.node)
        self.settings["precision"] = context.cfg.precision
        self.settings["float32_matmul_precision"] = context.cfg.float32_matmul_precision
        # Stable targets are taken from the batch.
        self.of_batch = {"batch_size": context.cfg.batch_size} if hasattr(self.objective, "refer_to") else {}
        self.settings |= self.of_batch

    def seed_of(self, context: Context) -> int:
        return int(self.of.config.get("seed", context.cfg.seed)) + 1

    def values(self, context: Context, model: ScoreModel) -> Values:
        def of(model: ScoreModel, x: Tensor, address: Address, cond: Mapping[str, Tensor]) -> Tensor:
            with torch.no_grad(), context.fabric.autocast():
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


def standard_error(values: Tensor) -> float | None:
    """Standard error of the mean of independent values (N,); None for a single one."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None


def _fitting(compute: Callable[[], Tensor], count: int) -> Tensor:
    try:
        return compute()
    except torch.OutOfMemoryError as error:
        raise UserError(f"a batch of {count} does not fit into memory: lower batch_size") from error
