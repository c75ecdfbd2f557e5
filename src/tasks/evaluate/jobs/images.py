"""Scores of images from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from ....checkpoint.legacy import upgrade_node
from ....cli.setting_types import listed
from ....distributed import failing_together, on_rank_zero
from ....errors import UserError
from ....progress import Progress
from ....sampling import Sampler
from ....sampling.generation import shard
from ....sinks.record import Result
from ....stored_values import BYTES, StoredValues
from ... import checkpoint_config, scoring
from ...image_source import manifest_of, open_images
from ..environment import Environment, ScoringSetups
from .memorization import MemorizationCheck
from .scores import settings_for_cache_key
from .spectrum import SpectrumCheck


class ImagesJob:
    """Score images. Images written by sample.py name their metrics and data; for others the user names them.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        setups: metrics and data, shared with other jobs.

    Raises:
        UserError: the images cannot be read, or metric and data are missing.
    """

    task = "scores"

    def __init__(self, cfg: DictConfig, setups: ScoringSetups) -> None:
        self.source = open_images(str(cfg.images))
        manifest = manifest_of(self.source.path)
        self.made: dict[str, Any] = {} if manifest is None else {**manifest.settings, "nfe": manifest.nfe.get("mean")}
        node = self.made.get("sampler")
        self.sampler: Sampler | None = (
            None
            if node is None
            else checkpoint_config.build("sampler", checkpoint_config.node(self.made, "sampler", None))
        )
        config = {} if manifest is None else upgrade_node(manifest.about.get("trained_with", {}))
        names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
        if cfg.get("metric") is None and "metric" not in config:
            raise UserError(
                f"metric and datamodule are missing for {cfg.images}: add metric=<a file of conf/metric> "
                "and datamodule=<a file of conf/datamodule>"
            )
        has_data = cfg.get("datamodule") is not None or "datamodule" in config
        datamodule = checkpoint_config.data_node(config, cfg.get("datamodule")) if has_data else None
        others = {} if datamodule is None else {"datamodule": datamodule}
        metric = checkpoint_config.node(config, "metric", cfg.get("metric"), **others)
        metric = scoring.chosen_metrics(metric, names)
        self.setup = setups.get(metric, datamodule)
        self.label = str(self.source.path)
        self.subject = {"images": self.source.fingerprint}
        self.settings = {
            "metric": settings_for_cache_key(metric),
            "datamodule": None if datamodule is None else settings_for_cache_key(datamodule),
            **({"memorization": True} if cfg.memorization else {}),
            **({"spectrum": True} if cfg.spectrum else {}),
        }

    def prepare(self, environment: Environment) -> ImagesWork:
        """Compare shapes and load the reference."""
        data = self.setup.datamodule
        channels = None if data is None or len(data.shape) != 3 else data.shape[0]
        shape = self.source.shape(channels)
        if data is not None and tuple(data.shape) != shape:
            raise UserError(
                f"{self.source.path} has images of shape {shape}, the data {tuple(data.shape)}: "
                "choose the datamodule they are to be compared with"
            )
        self.setup.check(len(self.source))
        environment.references(self.setup)
        values = self._values(data)
        device = environment.fabric.device
        check = MemorizationCheck(self.setup, device) if environment.cfg.memorization else None
        spectrum = SpectrumCheck(data) if environment.cfg.spectrum else None
        return ImagesWork(self, environment, channels, values, check, spectrum)

    def _values(self, data: Any) -> StoredValues:
        """Return what the stored values of the images mean."""
        if data is not None:
            on_rank_zero(data.prepare_data)
        values = self.source.values(None if data is None else data.values)
        if values.levels is None and (data is None or data.values.levels is not None):
            raise UserError(
                f"{self.source.path} holds {values.dtype} values, and their conversion to bytes changes a score: "
                "convert them first"
            )
        if values != BYTES:
            self.source.notes.append(f"{values.name} are scored as bytes")
        return values


@dataclass(frozen=True)
class ImagesWork:
    """The images with ``channels`` channels (None to keep their own) and a depth, ready to be scored."""

    job: ImagesJob
    environment: Environment
    channels: int | None
    values: StoredValues
    memorization: MemorizationCheck | None
    spectrum: SpectrumCheck | None

    def run(self) -> Result:
        """Score all images."""
        job, fabric, suite = self.job, self.environment.fabric, self.job.setup.suite
        mine = shard(range(len(job.source)), fabric.global_rank, fabric.world_size)
        suite.reset()
        with failing_together(), Progress("scoring", len(job.source), enabled=fabric.is_global_zero) as progress:
            for index, images in job.source.batches(mine, self.environment.cfg.batch_size, self.channels):
                suite.update(self.values.to_bytes(images).to(fabric.device), index)
                progress.add(len(index) * len(job.source) / len(mine))
        references = self.environment.references(job.setup)
        scores = suite.compute(references, quantization=self.values.scored_as(job.made.get("quantize", "unknown")))
        suite.reset()
        made = scoring.generation_facts(job.made)
        if job.made.get("nfe") is not None:
            made["nfe"] = job.made["nfe"]
        if job.sampler is not None:
            made["sampler"] = job.sampler.described
        about = {"path": str(job.source.path)}
        result = Result(job.task, job.label, job.subject, job.settings, conditions=made, about=about)
        result = result.of_scores(scores)
        result.notes.extend(job.source.notes)
        if self.memorization is not None:
            picture = self.environment.folder / "memorization.png"
            result = self.memorization.added(result, self._read, range(len(job.source)), picture)
        if self.spectrum is not None:
            picture = self.environment.folder / "spectrum.png"
            result = self.spectrum.added(result, self._stored, self.values, range(len(job.source)), picture)
        return result

    def _read(self, indices: Sequence[int]) -> Tensor:
        return self.values.to_bytes(self._stored(indices))

    def _stored(self, indices: Sequence[int]) -> Tensor:
        batches = self.job.source.batches(indices, self.environment.cfg.batch_size, self.channels)
        return torch.cat([images for _, images in batches])

    def clean_up(self) -> None:
        """Do nothing: the images belong to the user."""
