"""``mode=doctor`` as a unit of evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ....distributed import on_rank_zero
from ....errors import UserError
from ....io.hashing import file_hash
from ....metrics import FeatureExtractor, MetricSuite, load_statistics
from ....metrics.extractors.resize import RESIZES
from ....sinks.record import Result
from ... import checkpoint_config
from ...image_source import open_images
from ..environment import Environment
from ..jobs.scores import settings_for_cache_key
from .evidence.base import Images
from .examination import Examiner
from .samples import open_samples
from .sources import bytes_of, data_of_name, is_statistics, of_files, splits_of

_log = logging.getLogger(__name__)

DOCTOR = "doctor"


class DoctorJob:
    """Examine images of files, or samples of a checkpoint, against a reference.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.

    Raises:
        UserError: images, reference or metric do not exist.
    """

    task = DOCTOR

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.samples = open_samples(cfg)
        config = self.samples.config
        self.data, reference = self._reference(config)
        beside = {"datamodule": self.samples.shape() if self.data is None else self.data}
        if cfg.get("metric") is None and "metric" not in config:
            raise UserError(f"metric is missing for {cfg.images}: add metric=<a file of conf/metric>")
        self.metric = {**checkpoint_config.node(config, "metric", cfg.get("metric"), **beside), "metrics": {}}
        self.metric["statistics_path"] = None
        self.label = self.samples.label
        self.subject = {"images": self.samples.identity, "reference": reference}
        self.settings = {"metric": settings_for_cache_key(self.metric), **self.samples.settings}

    def prepare(self, environment: Environment) -> DoctorWork:
        """Load the extractor and open the reference."""
        suite: MetricSuite = checkpoint_config.build("metric", self.metric)
        return DoctorWork(self, environment, suite.extractor.to(environment.fabric.device))

    def _reference(self, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
        """Return the node of the reference's data (None if files are the reference) and what identifies it."""
        cfg = self.cfg
        if cfg.reference is None:
            if cfg.get("datamodule") is None and "datamodule" not in config:
                raise UserError(
                    "reference is missing: give reference=<images, statistics (npz) or a data set, as cifar10>"
                )
            node = checkpoint_config.data_node(config, cfg.get("datamodule"))
        elif Path(str(cfg.reference)).expanduser().exists():
            path = str(cfg.reference)
            return None, file_hash(Path(path).expanduser()) if is_statistics(path) else open_images(path).fingerprint
        else:
            node = data_of_name(str(cfg.reference))
        return node, settings_for_cache_key(node)


@dataclass(frozen=True)
class DoctorWork:
    """The loaded images and the reference, ready to be compared under each suspicion."""

    job: DoctorJob
    environment: Environment
    extractor: FeatureExtractor

    def run(self) -> Result:
        """Run the examination in the first process."""
        return on_rank_zero(self._examine)

    def clean_up(self) -> None:
        """Do nothing: the examination leaves no files."""

    def _examine(self) -> Result:
        job, cfg = self.job, self.job.cfg
        splits, statistics, source, split = dict[str, Images](), None, str(cfg.reference), "reference"
        data = None if job.data is None else checkpoint_config.build("datamodule", job.data)
        if data is not None:
            data.prepare_data()
            data.setup()
            splits, split = splits_of(data), data.reference_split
            source = f"{data.data_name} {split}"
        elif is_statistics(source):
            extractor = self.extractor
            statistics = load_statistics(source, extractor.fingerprint, extractor.num_features, extractor.resize)
        else:
            files = open_images(source, "reference")
            splits = {split: of_files(files, None, bytes_of(files, None))}
        values_of_data, device = None if data is None else data.values, self.environment.fabric.device
        images, variants = job.samples.images(splits.get(split), values_of_data, device)
        self._check(images, splits.get(split))
        processed = job.samples.processed
        examiner = Examiner(self.extractor, images, splits, split, statistics, self._other_rules(), variants, processed)
        found = examiner.run()
        score = self.extractor.distance_name
        values: dict[str, float | None] = {score: found.value}
        intervals = {score: [found.low, found.high]}
        for finding in found.findings:
            name = f"{finding.family}: {finding.text}"
            values[name], intervals[name] = finding.value, [finding.low, finding.high]
        conditions = {
            "samples": images.count,
            "reference": source,
            "extractor": self.extractor.fingerprint,
            "resize": self.extractor.resize,
        }
        about = {"path": job.label, "examination": asdict(found)}
        return Result(
            job.task, job.label, job.subject, job.settings, values, conditions, intervals=intervals, about=about
        )

    def _check(self, images: Images, reference: Images | None) -> None:
        """Raise UserError if the images cannot be compared with the reference."""
        if images.count < 4:
            raise UserError(f"{images.count} images cannot be examined: give at least 4")
        shape = tuple(next(images.batches())[0].shape[1:])
        if reference is not None and (other := tuple(next(reference.batches())[0].shape[1:])) != shape:
            raise UserError(f"{self.job.label} has images of shape {shape}, the reference {other}: give one shape")
        try:
            self.extractor(torch.zeros(1, *shape, dtype=torch.uint8, device=self.extractor.device))
        except ValueError as error:
            raise UserError(f"{error}: choose a metric that fits the images") from error

    def _other_rules(self) -> dict[str, FeatureExtractor]:
        """The extractors with the other resize rules, if the extractor has a resize rule."""
        node = self.job.metric["extractor"]
        if node.get("resize") not in RESIZES:
            return {}
        device = self.environment.fabric.device
        return {
            f"resize rule {rule}, not {node['resize']}": checkpoint_config.build(
                "extractor", {**node, "resize": rule}
            ).to(device)
            for rule in RESIZES
            if rule != node["resize"]
        }
