"""Scores of the samples of a checkpoint.

Samples stay on the disk until they are scored, so that no sample is generated twice.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ....cli.setting_types import listed
from ....distributed import on_rank_zero, rank, world_size
from ....errors import UserError
from ....io.hashing import settings_hash
from ....sampling import Sampler
from ....sampling.conditioning.labels import class_condition, class_numbers
from ....sampling.generation import Generation, shard
from ....sampling.statistics import Statistics
from ....sde import ScoreModel
from ....sinks.record import Result
from ....sinks.scores import Scoring
from ....sinks.store import SampleStore
from ....stored_values import values_of
from ... import checkpoint_config, scoring
from ..environment import Environment, ScoringSetups
from ..subjects import Subject
from .memorization import MemorizationCheck
from .spectrum import SpectrumCheck

_log = logging.getLogger(__name__)

_BATCH = 256
_CHANGE_NO_RESULT = (
    "cache_dir",
    "data_dir",
    "num_workers",
    "pin_memory",
    "on_device",
    "global_batch_size",
    "eval_batch_size",
)


class ScoresJob:
    """The samples of a subject and their scores.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        subject: the checkpoint and its weights.
        setups: metrics and data, shared with other jobs.
        sampler: the sampler's node; None for the checkpoint's own, with the changes of the command line.
        point: what distinguishes this sampler or draw from others in the same table, as short words by key.
        seed: seed of the samples; None for the one of the command line.

    Raises:
        UserError: the settings do not fit the checkpoint.
    """

    task = "scores"

    def __init__(
        self,
        cfg: DictConfig,
        subject: Subject,
        setups: ScoringSetups,
        sampler: Mapping[str, Any] | None = None,
        point: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        config = subject.config
        self.seed: int = cfg.seed if seed is None else seed

        def node(name: str, **others: Any) -> dict[str, Any]:
            return checkpoint_config.node(config, name, cfg.get(name), **others)

        self.of = subject
        point = dict(point or {})
        self.label = " ".join([subject.label, *(f"{value}" for value in point.values() if value is not None)])
        self.subject = {**subject.identity, **point}
        self.sampler_node = dict(sampler) if sampler is not None else node("sampler")
        self.sampler: Sampler = checkpoint_config.build("sampler", self.sampler_node)
        self.sampler.check(checkpoint_config.build("sde", checkpoint_config.node(config, "sde", None)))
        datamodule = checkpoint_config.data_node(config, cfg.get("datamodule"))
        self.shape = checkpoint_config.sample_shape(datamodule)
        self.stored_as = values_of(datamodule)
        if len(self.shape) != 3:
            raise UserError(f"{subject.path} does not generate images and cannot be scored: set score=false")
        names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
        metric = scoring.chosen_metrics(node("metric", datamodule=datamodule), names)
        self.setup = setups.get(metric, datamodule)
        self.setup.check(cfg.num_samples)
        labels: Any = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
        self.labels = labels = class_numbers(labels, datamodule.get("class_names"))
        # Check again on the net itself; its weights are not loaded yet.
        class_condition(labels, config.get("net", {}).get("num_classes"), self.seed)
        self.settings = {
            "num_samples": cfg.num_samples,
            "seed": self.seed,
            "labels": self.labels,
            "quantize": cfg.quantize,
            "precision": cfg.precision,
            "float32_matmul_precision": cfg.float32_matmul_precision,
            "sampler": self.sampler_node,
            "metric": settings_for_cache_key(metric),
            "datamodule": settings_for_cache_key(datamodule),
            # Seconds are comparable at one batch size only.
            **({"batch_size": cfg.batch_size} if point else {}),
            **({"memorization": True} if cfg.memorization else {}),
            **({"spectrum": True} if cfg.spectrum else {}),
        }

    def prepare(self, environment: Environment) -> ScoresWork:
        """Load the reference."""
        environment.references(self.setup)
        settings = {**self.subject, **self.settings}
        folder = environment.folder / "samples" / f"{slug(self.label)}-{settings_hash(settings)}"
        about = {"ckpt_path": str(self.of.path), "trained_with": dict(self.of.config)}
        store = SampleStore(
            folder, settings, environment.cfg.num_samples, self.shape, "npz", about=about, values=self.stored_as
        )
        device = environment.fabric.device
        check = MemorizationCheck(self.setup, device) if environment.cfg.memorization else None
        spectrum = SpectrumCheck(self.setup.datamodule) if environment.cfg.spectrum else None
        return ScoresWork(self, environment, store, check, spectrum)


@dataclass(frozen=True)
class ScoresWork:
    """Samples to be generated in ``store`` and scored."""

    job: ScoresJob
    environment: Environment
    store: SampleStore
    memorization: MemorizationCheck | None
    spectrum: SpectrumCheck | None

    def run(self) -> Result:
        """Generate the missing samples and score all."""
        job, cfg, device = self.job, self.environment.cfg, self.environment.fabric.device
        model, notes = self.environment.model(job.of)
        _log.info("%s: %s samples with %s", job.label, f"{cfg.num_samples:,}", job.sampler.described)
        generation, labels = self._generation(model)
        references = self.environment.references(job.setup)
        scored = Scoring(job.setup.suite, references, job.stored_as, cfg.quantize, device)
        statistics = self._make(generation, scored)
        conditions = {
            "sampler": job.sampler.described,
            "nfe": statistics.evaluations / statistics.count,
            "seed": job.seed,
            "weights": job.of.weights,
            "precision": cfg.precision,
            **({"labels": labels} if labels is not None else {}),
            "seconds_per_image": statistics.seconds / statistics.count,
            "batch_size": cfg.batch_size,
            "device": device_name(device),
        }
        about = {"ckpt_path": str(job.of.path), "step": job.of.step, "name": job.of.label}
        result = Result(
            job.task, job.label, job.subject, job.settings, conditions=conditions, notes=list(notes), about=about
        )
        lost = len(statistics.invalid)
        if scored.scores is not None:
            result = result.of_scores(scored.scores)
        else:
            result.values[job.setup.suite.extractor.distance_name] = None
            result.conditions["samples"] = cfg.num_samples - lost
        if lost:
            result.conditions["invalid_samples"] = lost
            result.notes.append(f"{job.label}: {lost} samples diverged or are not finite and were left out")
        if self.memorization is not None:
            picture = self.environment.folder / f"memorization-{slug(job.label)}.png"
            result = self.memorization.added(result, self._read, on_rank_zero(self.store.valid_indices), picture)
        if self.spectrum is not None:
            picture = self.environment.folder / f"spectrum-{slug(job.label)}.png"
            made, stored = self.store.read, self.store.values
            result = self.spectrum.added(result, made, stored, on_rank_zero(self.store.valid_indices), picture)
        return result

    def _read(self, indices: Sequence[int]) -> Tensor:
        return self.store.values.to_bytes(self.store.read(indices))

    def clean_up(self) -> None:
        """Delete the samples unless they are to be kept."""
        if self.environment.cfg.keep_samples:
            return
        shutil.rmtree(self.store.folder, ignore_errors=True)
        with suppress(OSError):
            # The folder may hold samples of other jobs.
            self.store.folder.parent.rmdir()

    def _generation(self, model: ScoreModel) -> tuple[Generation, Any]:
        """Return how samples are generated, and their labels (None for a net without classes)."""
        job, cfg, fabric = self.job, self.environment.cfg, self.environment.fabric
        classes = model.num_classes
        generation = Generation(
            model,
            job.sampler,
            job.shape,
            job.seed,
            cfg.batch_size,
            model.data_range,
            cfg.quantize,
            conditioning=class_condition(job.labels, classes, job.seed),
            device=fabric.device,
            autocast=fabric.autocast,
            values=job.stored_as,
        )
        return generation, ("cycle" if job.labels is None else job.labels) if classes else None

    def _make(self, generation: Generation, scored: Scoring) -> Statistics:
        """Score stored samples of an earlier call from the disk, and generate the others."""
        # If no sample is missing, evaluations and seconds cannot be measured.
        count = self.store.count
        missing = on_rank_zero(self.store.prepare) or list(range(min(count, generation.batch_size)))
        there = sorted(set(on_rank_zero(self.store.valid_indices)) - set(missing))
        scored.add_stored(self.store, there, _BATCH)
        generation.warm_up(shard(missing, rank(), world_size()))
        return generation.run(missing, [self.store, scored])


def device_name(device: torch.device) -> str:
    """Name of the device; stored because times depend on it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def settings_for_cache_key(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without the settings that do not change results."""
    return {key: value for key, value in node.items() if key not in _CHANGE_NO_RESULT}


def slug(text: str) -> str:
    """``text`` as a file name."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-")
