"""Scores of the samples of a checkpoint. Samples lie on the disk until they are scored, so that none is made twice."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from omegaconf import OmegaConf

from ...cli.kinds import listed
from ...data_range import to_bytes
from ...distributed import failing_together, gather_rows, on_rank_zero
from ...errors import UserError
from ...io.hashing import settings_hash
from ...metrics import Scores
from ...noise import AddressedNoise
from ...progress import Progress
from ...sampling import Sampler
from ...sampling.conditioning.labels import class_condition
from ...sampling.generation import Condition, GeneratedBatch, generate, shard
from ...sde import ScoreModel
from .. import checkpoint_config, scoring
from ..sample.store import ImageStore
from .context import Context, Yardstick
from .record import Entry
from .subjects import Subject

_log = logging.getLogger(__name__)

_OF_NO_CONSEQUENCE = (
    "cache_dir",
    "data_dir",
    "num_workers",
    "pin_memory",
    "on_device",
    "global_batch_size",
    "eval_batch_size",
)


class ScoresJob:
    """Samples of a subject and their scores.

    Args:
        context: the surroundings.
        subject: whose.
        sampler: node of the sampler; None for the checkpoint's own, with the changes of the command line.
        point: what tells this sampler from others of the same table: words for each key.
    """

    task = "scores"

    def __init__(
        self,
        context: Context,
        subject: Subject,
        sampler: Mapping[str, Any] | None = None,
        point: Mapping[str, Any] | None = None,
    ) -> None:
        cfg, config = context.cfg, subject.config
        self.of = subject
        self.point = dict(point or {})
        self.label = " ".join([subject.label, *(f"{value}" for value in self.point.values() if value is not None)])
        self.subject = {**subject.identity, **self.point}
        self.sampler_node = dict(sampler) if sampler is not None else context.node(config, "sampler")
        self.sampler: Sampler = checkpoint_config.build("sampler", self.sampler_node)
        self.sampler.check(checkpoint_config.build("sde", checkpoint_config.node(config, "sde", None)))
        datamodule = context.node(config, "datamodule")
        self.shape = checkpoint_config.sample_shape(datamodule)
        if len(self.shape) != 3:
            raise UserError(f"{subject.path} makes no images, so there is nothing to score: set score=false")
        names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
        metric = scoring.chosen_metrics(context.node(config, "metric", datamodule=datamodule), names)
        self.yardstick: Yardstick = context.yardstick(metric, datamodule)
        self.yardstick.check(cfg.num_samples)
        labels: Any = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
        self.labels = labels
        # Asked once more of the net itself, whose weights are not read yet.
        class_condition(labels, config.get("net", {}).get("num_classes"), cfg.seed)
        self.settings = {
            "num_samples": cfg.num_samples,
            "seed": cfg.seed,
            "labels": self.labels,
            "quantize": cfg.quantize,
            "precision": cfg.precision,
            "float32_matmul_precision": cfg.float32_matmul_precision,
            "sampler": self.sampler_node,
            "metric": of_consequence(metric),
            "datamodule": of_consequence(datamodule),
            # Seconds compare at one batch size only.
            **({"batch_size": cfg.batch_size} if self.point else {}),
        }

    def prepare(self, context: Context) -> None:
        self.yardstick.prepare(context.fabric)

    def run(self, context: Context) -> Entry:
        model, notes = context.model(self.of)
        _log.info("%s: %s samples with %s", self.label, f"{context.cfg.num_samples:,}", describe(self.sampler_node))
        made = _Making(self, context, model).make()
        self._leftover = None if context.cfg.keep_samples else made.store.folder
        conditions = {
            "sampler": describe(self.sampler_node),
            "nfe": made.nfe,
            "seed": context.cfg.seed,
            "weights": self.of.weights,
            "precision": context.cfg.precision,
            **({"labels": made.labels} if made.labels is not None else {}),
            "seconds_per_image": made.seconds,
            "batch_size": context.cfg.batch_size,
            "device": device_name(context.fabric.device),
        }
        entry = Entry(self.task, self.label, self.subject, self.settings, notes=list(notes))
        if made.scores is not None:
            entry.values = dict(made.scores.values)
            entry.details = dict(made.scores.details)
            entry.conditions = {**made.scores.conditions, **conditions}
            entry.notes += made.scores.notes
        else:
            entry.values = {self.yardstick.suite.extractor.distance_name: None}
            entry.conditions = {"samples": context.cfg.num_samples - made.invalid, **conditions}
        if made.invalid:
            entry.conditions["invalid_samples"] = made.invalid
            entry.notes.append(f"{self.label}: {made.invalid} samples diverged or are not finite and were left out")
        entry.about = {"ckpt_path": str(self.of.path), "step": self.of.step, "name": self.of.label}
        return entry

    def clean_up(self) -> None:
        if self._leftover is None:
            return
        shutil.rmtree(self._leftover, ignore_errors=True)
        with suppress(OSError):
            # Others may lie beside it.
            self._leftover.parent.rmdir()


class _Making:
    """The samples of one job, made, kept and seen by the metrics."""

    scores: Scores | None = None
    nfe = 0.0
    seconds = 0.0
    invalid = 0

    def __init__(self, job: ScoresJob, context: Context, model: ScoreModel) -> None:
        cfg = context.cfg
        self.job, self.context, self.model = job, context, model
        self.suite = job.yardstick.suite
        self.count: int = cfg.num_samples
        classes = getattr(model.net, "num_classes", None)
        self.condition: Condition | None = class_condition(job.labels, classes, cfg.seed)
        self.labels = ("cycle" if job.labels is None else job.labels) if classes else None
        settings = {**job.subject, **job.settings}
        folder = context.folder / "samples" / f"{slug(job.label)}-{settings_hash(settings)}"
        about = {"ckpt_path": str(job.of.path), "trained_with": dict(job.of.config)}
        self.store = ImageStore(folder, settings, self.count, job.shape, "npz", about=about)
        self._made: list[tuple[int, int, bool]] = []
        self._invalid: list[int] = []
        self._seconds = 0.0

    def make(self) -> _Making:
        """Sample and score."""
        fabric = self.context.fabric
        missing = on_rank_zero(self.store.prepare)
        # With nothing left to make there would be nothing to count evaluations and seconds of.
        missing = missing or list(range(min(self.count, self.context.cfg.batch_size)))
        self.suite.reset()
        with failing_together():
            self._see_again(set(missing))
            with Progress("sampling", len(missing), enabled=fabric.is_global_zero) as progress:
                for batch in self._batches(shard(missing, fabric.global_rank, fabric.world_size), progress):
                    self._keep(batch)
                    progress.add(int(fabric.world_size * len(batch.index)))
        self._sum_up()
        if self.count - self.invalid >= self.suite.min_samples:
            self.scores = self.suite.compute(self.job.yardstick.reference, quantization=self.context.cfg.quantize)
        self.suite.reset()
        if self.context.cfg.keep_samples:
            on_rank_zero(lambda: self.store.complete(self._invalid, {"mean": self.nfe}, self.seconds * self.count))
        return self

    def _see_again(self, missing: set[int]) -> None:
        """Samples of an earlier call go to the metrics."""
        fabric = self.context.fabric
        there = [i for i in range(self.count) if i not in missing]
        mine = shard(there, fabric.global_rank, fabric.world_size)
        for first in range(0, len(mine), 4096):
            index = mine[first : first + 4096]
            images = self.store.read(index)
            for part, numbers in zip(torch.split(images, 256), torch.split(torch.tensor(index), 256), strict=True):
                self.suite.update(part.to(fabric.device), numbers)

    def _batches(self, mine: Any, progress: Progress) -> Iterator[GeneratedBatch]:
        fabric, cfg = self.context.fabric, self.context.cfg
        self._warm_up(mine[: cfg.batch_size])
        batches = generate(
            self.model,
            self.job.sampler,
            self.job.shape,
            mine,
            seed=cfg.seed,
            batch_size=cfg.batch_size,
            condition=self.condition,
            device=fabric.device,
            autocast=fabric.autocast,
            on_step=lambda s: progress.begun(fabric.world_size * len(s.x) * s.index / s.total),
        )
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            # A batch comes with values on the CPU, so the device has finished.
            self._seconds += time.perf_counter() - start
            yield batch

    def _warm_up(self, mine: Any) -> None:
        """The first call of a net takes longer than the others, and is not to count."""
        if len(mine) == 0:
            return
        index = torch.tensor(mine, device=self.context.fabric.device)
        like = torch.empty(len(mine), *self.job.shape, device=index.device)
        t = torch.tensor(self.model.sde.T, dtype=torch.float64)
        with torch.no_grad(), self.context.fabric.autocast():
            x = self.model.sde.prior_sample(AddressedNoise(self.context.cfg.seed, index)("prior", 0, like))
            self.model(x, t, None if self.condition is None else self.condition(index))
        if index.is_cuda:
            torch.cuda.synchronize()

    def _keep(self, batch: GeneratedBatch) -> None:
        images = to_bytes(batch.samples[batch.valid], self.model.data_range, self.context.cfg.quantize)
        index = batch.index[batch.valid]
        self.store.add(index, images.cpu())
        self.suite.update(images, index)
        self._made += zip(batch.index.tolist(), batch.nfe.tolist(), batch.valid.tolist(), strict=True)

    def _sum_up(self) -> None:
        rows = gather_rows(torch.tensor(self._made, dtype=torch.int64).reshape(-1, 3))
        seconds = gather_rows(torch.tensor([self._seconds], dtype=torch.float64))
        self.nfe = float(rows[:, 1].double().mean())
        self._invalid = rows[rows[:, 2] == 0, 0].tolist()
        self.invalid = len(self._invalid)
        # Of one device: what several do side by side adds up.
        self.seconds = float(seconds.sum()) / len(rows)


def describe(sampler: Mapping[str, Any]) -> str:
    """A sampler's node in words: its class, those of its parts, its steps."""

    def name(node: Mapping[str, Any]) -> str:
        return str(node["_target_"]).rpartition(".")[2]

    grid = sampler.get("grid")
    parts = [
        name(part) for part in sampler.values() if isinstance(part, Mapping) and "_target_" in part and part != grid
    ]
    inside = ", ".join(part for part in parts if not part.startswith("No"))
    steps = f" {grid['steps']} steps" if isinstance(grid, Mapping) and "steps" in grid else ""
    return name(sampler) + (f"({inside})" if inside else "") + steps


def device_name(device: torch.device) -> str:
    """The device in words, for whoever compares seconds."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def of_consequence(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without what changes no result."""
    return {key: value for key, value in node.items() if key not in _OF_NO_CONSEQUENCE}


def slug(text: str) -> str:
    """``text`` as a name of a file."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-")
