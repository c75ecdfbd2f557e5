"""Scores of the samples of a checkpoint. Samples lie on the disk until they are scored, so that none is made twice."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from omegaconf import OmegaConf

from ...cli.kinds import listed
from ...distributed import on_rank_zero, rank, world_size
from ...errors import UserError
from ...io.hashing import settings_hash
from ...sampling import Sampler
from ...sampling.conditioning.labels import class_condition
from ...sampling.generation import Generation, shard
from ...sampling.statistics import Statistics
from ...sde import ScoreModel
from ...sinks.record import Result
from ...sinks.scores import Scoring
from ...sinks.store import SampleStore
from .. import checkpoint_config, scoring
from .context import Context, Yardstick
from .subjects import Subject

_log = logging.getLogger(__name__)

_BATCH = 256
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

    def run(self, context: Context) -> Result:
        model, notes = context.model(self.of)
        _log.info("%s: %s samples with %s", self.label, f"{context.cfg.num_samples:,}", describe(self.sampler_node))
        generation, labels = self._generation(context, model)
        store = self._store(context)
        self._leftover = None if context.cfg.keep_samples else store.folder
        scoring = Scoring(self.yardstick.suite, self.yardstick.reference, context.cfg.quantize, context.fabric.device)
        statistics = self._make(generation, store, scoring)
        conditions = {
            "sampler": describe(self.sampler_node),
            "nfe": statistics.evaluations / statistics.count,
            "seed": context.cfg.seed,
            "weights": self.of.weights,
            "precision": context.cfg.precision,
            **({"labels": labels} if labels is not None else {}),
            "seconds_per_image": statistics.seconds / statistics.count,
            "batch_size": context.cfg.batch_size,
            "device": device_name(context.fabric.device),
        }
        entry = Result(self.task, self.label, self.subject, self.settings, notes=list(notes))
        if scoring.scores is not None:
            entry = replace(entry, conditions=conditions).of_scores(scoring.scores)
        else:
            entry.values = {self.yardstick.suite.extractor.distance_name: None}
            entry.conditions = {"samples": context.cfg.num_samples - len(statistics.invalid), **conditions}
        if lost := len(statistics.invalid):
            entry.conditions["invalid_samples"] = lost
            entry.notes.append(f"{self.label}: {lost} samples diverged or are not finite and were left out")
        entry.about = {"ckpt_path": str(self.of.path), "step": self.of.step, "name": self.of.label}
        return entry

    def _generation(self, context: Context, model: ScoreModel) -> tuple[Generation, Any]:
        """How samples are made, and the labels they get, None for a net without classes."""
        cfg, fabric = context.cfg, context.fabric
        classes = getattr(model.net, "num_classes", None)
        generation = Generation(
            model,
            self.sampler,
            self.shape,
            cfg.seed,
            cfg.batch_size,
            model.data_range,
            cfg.quantize,
            conditioning=class_condition(self.labels, classes, cfg.seed),
            device=fabric.device,
            autocast=fabric.autocast,
        )
        return generation, ("cycle" if self.labels is None else self.labels) if classes else None

    def _store(self, context: Context) -> SampleStore:
        settings = {**self.subject, **self.settings}
        folder = context.folder / "samples" / f"{slug(self.label)}-{settings_hash(settings)}"
        about = {"ckpt_path": str(self.of.path), "trained_with": dict(self.of.config)}
        return SampleStore(folder, settings, context.cfg.num_samples, self.shape, "npz", about=about)

    def _make(self, generation: Generation, store: SampleStore, scoring: Scoring) -> Statistics:
        """Samples of an earlier call go to the metrics from the disk, the others are made."""
        # With nothing left to make there would be nothing to count evaluations and seconds of.
        count = store.manifest.num_samples
        missing = on_rank_zero(store.prepare) or list(range(min(count, generation.batch_size)))
        there = sorted(set(on_rank_zero(store.valid_indices)) - set(missing))
        scoring.add_stored(store, there, _BATCH)
        generation.warm_up(shard(missing, rank(), world_size()))
        return generation.run(missing, [store, scoring])

    def clean_up(self) -> None:
        if self._leftover is None:
            return
        shutil.rmtree(self._leftover, ignore_errors=True)
        with suppress(OSError):
            # Others may lie beside it.
            self._leftover.parent.rmdir()


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
