"""Scores of images from files."""

from __future__ import annotations

from typing import Any

from ...cli.kinds import listed
from ...distributed import failing_together
from ...errors import UserError
from ...progress import Progress
from ...sampling.generation import shard
from ...sinks.record import Result
from .. import scoring
from ..image_source import manifest_of, open_images
from .context import Context
from .scores import describe, of_consequence


class ImagesJob:
    """Scores of images; those of sample.py bring their metrics and data with them, others need them named.

    Args:
        context: the surroundings.
    """

    task = "scores"

    def __init__(self, context: Context) -> None:
        cfg = context.cfg
        self.source = open_images(str(cfg.images))
        manifest = manifest_of(self.source.path)
        self.made: dict[str, Any] = {} if manifest is None else {**manifest.settings, "nfe": manifest.nfe.get("mean")}
        config = {} if manifest is None else manifest.about.get("trained_with", {})
        names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
        if cfg.get("metric") is None and "metric" not in config:
            raise UserError(
                f"nothing says how to score {cfg.images}: add metric=<a file of conf/metric> and datamodule=<a file of "
                "conf/datamodule>"
            )
        has_data = cfg.get("datamodule") is not None or "datamodule" in config
        datamodule = context.node(config, "datamodule") if has_data else None
        beside = {} if datamodule is None else {"datamodule": datamodule}
        metric = scoring.chosen_metrics(context.node(config, "metric", **beside), names)
        self.yardstick = context.yardstick(metric, datamodule)
        self.label = str(self.source.path)
        self.subject = {"images": self.source.fingerprint}
        self.settings = {
            "metric": of_consequence(metric),
            "datamodule": None if datamodule is None else of_consequence(datamodule),
        }

    def prepare(self, context: Context) -> None:
        data = self.yardstick.datamodule
        self.channels = None if data is None or len(data.shape) != 3 else data.shape[0]
        shape = self.source.shape(self.channels)
        if data is not None and tuple(data.shape) != shape:
            raise UserError(
                f"{self.source.path} holds images of shape {shape}, the data have {tuple(data.shape)}: "
                "choose the datamodule they are to be compared with"
            )
        self.yardstick.check(len(self.source))
        self.yardstick.prepare(context.fabric)

    def run(self, context: Context) -> Result:
        fabric, suite = context.fabric, self.yardstick.suite
        mine = shard(range(len(self.source)), fabric.global_rank, fabric.world_size)
        suite.reset()
        with failing_together(), Progress("scoring", len(self.source), enabled=fabric.is_global_zero) as progress:
            for index, images in self.source.batches(mine, context.cfg.batch_size, self.channels):
                suite.update(images.to(fabric.device), index)
                progress.add(fabric.world_size * len(index))
        scores = suite.compute(self.yardstick.reference, quantization=self.made.get("quantize", "unknown"))
        suite.reset()
        made = {
            key: self.made[key]
            for key in ("seed", "weights", "labels", "precision", "nfe")
            if self.made.get(key) is not None
        }
        if "sampler" in self.made:
            made["sampler"] = describe(self.made["sampler"])
        return Result(
            self.task,
            self.label,
            self.subject,
            self.settings,
            values=dict(scores.values),
            conditions={**scores.conditions, **made},
            details=dict(scores.details),
            notes=[*scores.notes, *self.source.notes],
            about={"path": str(self.source.path)},
        )

    def clean_up(self) -> None:
        """The images are not ours."""
