"""Scores of generated images during training, and the checkpoint with the best score."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from ...distributed import on_rank_zero
from ...errors import UserError
from ...io.atomic import refusals, write_text
from ...io.results import read_lines
from ...loggers import keep_best
from ...metrics import MetricSuite, Reference, Scores
from ...sampling import Sampler
from ...sampling.statistics import Statistics
from ...sde import ScoreModel
from ...sinks.record import VERSION, Result
from ...sinks.reference import check_extractor, reference_of
from ...sinks.scores import Scoring
from ..ema import ema_of
from .periodic import Periodic
from .sampling import TrainingSamples, data_of

_log = logging.getLogger(__name__)


class FID(Periodic):
    """Score the same samples at regular steps, log the curve and keep the best checkpoint.

    Each process generates its share of the samples, with averaged weights if there are any. Loggers receive every score
    of the suite under its own name (``fid`` for Inception features). The settings that a score depends on are printed
    beside it.

    Args:
        every_n_steps: optimizer steps between two scores; the last step always has one.
        num_samples: number of samples. A Fréchet distance decreases with this number, so compare only scores with equal
            numbers.
        batch_size: samples per batch on one device.
        seed: seed of the samples.
        sampler: sampler that generates them.
        suite: the metrics.
        monitor: the score whose lowest value is the best; None for the Fréchet distance of the suite's extractor.
        save_best: checkpoint to write whenever the monitored score is the lowest so far; None for none.
        quantize: how floats are converted to bytes, ``round`` or ``truncate``.
        record: file that gets a line of JSON with every score and its conditions; None for no file.
    """

    def __init__(
        self,
        every_n_steps: int,
        num_samples: int,
        batch_size: int,
        seed: int,
        sampler: Sampler,
        suite: MetricSuite,
        monitor: str | None = None,
        save_best: str | Path | None = None,
        quantize: str = "round",
        record: str | Path | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.samples = TrainingSamples(sampler, num_samples, batch_size, seed, quantize)
        self.suite = suite
        self.monitor = suite.extractor.distance_name if monitor is None else monitor
        self.save_best = None if save_best is None else Path(save_best)
        self.record = None if record is None else Path(record)
        self.best = math.inf
        self.best_step: int | None = None
        self._reference: Mapping[str, Reference] = {}

    @property
    def state_key(self) -> str:
        """Return a key per number of samples: the best score with another number is not comparable."""
        return f"{type(self).__qualname__}[{self.samples.count} samples]"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        needed = self.suite.min_samples
        if self.samples.count < needed:
            raise UserError(
                f"callbacks.fid.num_samples={self.samples.count}, but these metrics need at least {needed}: raise it, "
                "or leave callbacks.fid out"
            )
        check_extractor(data_of(trainer), self.suite)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined] # set from outside its class
            # Load data and weights before training, so that missing ones are reported at once.
            with isolate_rng():
                self._reference = reference_of(data_of(trainer), self.suite, pl_module.device)

    def resume(self, trainer: Trainer) -> None:
        # The checkpoint of a step is written before its scores.
        step = trainer.global_step
        on_rank_zero(lambda: self._forget_after(step))
        self.best, self.best_step = on_rank_zero(lambda: self._best_until(step))
        for entry in on_rank_zero(self._recorded):
            if entry["subject"]["step"] == step:
                values = {name: torch.tensor(value) for name, value in entry["values"].items() if value is not None}
                trainer.callback_metrics.update(values)

    def is_done(self, step: int) -> bool:
        return any(entry["subject"]["step"] == step for entry in self._recorded())

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values, quantize = data_of(trainer).values, self.samples.quantize
        scoring = Scoring(self.suite, self._reference, values, quantize, pl_module.device)
        statistics = self.samples.make(trainer, pl_module, [scoring], "scores")
        scores, invalid = scoring.scores, len(statistics.invalid)
        if scores is None:
            _log.warning("step %d: no score: %d samples diverged or are not finite", trainer.global_step, invalid)
            return
        result = self._result(trainer, pl_module, scores, statistics)
        self._log(trainer, scores, result)
        # Scores without the diverged samples are too good: show them, but do not use them for the best checkpoint.
        if not invalid and scores.values.get(self.monitor, math.inf) < self.best:
            self.best, self.best_step = scores.values[self.monitor], trainer.global_step
            keep_best(trainer.loggers, self.monitor, self.best, self.best_step)
            if self.save_best is not None:
                trainer.save_checkpoint(self.save_best, weights_only=False)
        # Write the row last: a run that is killed before repeats the score when it resumes.
        if (path := self.record) is not None:
            on_rank_zero(lambda: _append(path, {"version": VERSION, **result.plain()}))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]

    def _result(self, trainer: Trainer, pl_module: LightningModule, scores: Scores, statistics: Statistics) -> Result:
        """The scores with all conditions; names of conditions are those of the other commands."""
        step, samples, model = trainer.global_step, self.samples, cast(ScoreModel, pl_module.model)
        conditions = {
            "sampler": samples.sampler.described,
            "nfe": statistics.evaluations / statistics.count,
            "seed": samples.seed,
            "weights": "raw" if ema_of(trainer) is None else "ema",
            "precision": str(trainer.precision),
            **({"labels": "cycle"} if model.num_classes else {}),
            "invalid_samples": len(statistics.invalid),
        }
        settings = {"num_samples": samples.count, "seed": samples.seed, "quantize": samples.quantize}
        return Result("scores", f"step {step}", {"step": step}, settings, conditions=conditions).of_scores(scores)

    def _log(self, trainer: Trainer, scores: Scores, result: Result) -> None:
        invalid = result.conditions["invalid_samples"]
        values = {**scores.flat(), **({"invalid_samples": float(invalid)} if invalid else {})}
        # Log metrics directly: Lightning would drop values between two of its logging steps, and logs nothing at the
        # end of a validation.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=trainer.global_step)
            logger.save()
        _log.info(
            "%s: %s, %.4g evaluations per sample; protocol: %s",
            result.label,
            ", ".join(f"{name} {scores.shown(name)}" for name in scores.values),
            result.conditions["nfe"],
            result.protocol["text"],
        )

    def _recorded(self) -> list[dict[str, Any]]:
        """Return the scores recorded by earlier starts of this run; skip an incomplete line of a killed run."""
        return [] if self.record is None else read_lines(self.record)

    def _best_until(self, step: int) -> tuple[float, int | None]:
        """Return the best score and its step."""
        best = (self.best, self.best_step)
        for entry in self._recorded():
            value = entry["values"].get(self.monitor)
            comparable = entry.get("settings", {}).get("num_samples") == self.samples.count
            invalid = entry.get("conditions", {}).get("invalid_samples")
            if comparable and value is not None and not invalid and value < best[0]:
                best = (value, entry["subject"].get("step"))
        return best

    def _forget_after(self, step: int) -> None:
        """Remove the scores of steps that this run is about to repeat."""
        entries = self._recorded()
        kept = [entry for entry in entries if entry["subject"].get("step", 0) <= step]
        if self.record is not None and len(kept) < len(entries):
            write_text(self.record, "".join(json.dumps(entry) + "\n" for entry in kept))


def _append(path: Path, entry: dict[str, object]) -> None:
    with refusals(path, "free disk space, then resume with ckpt_path=last"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            # A full disk or a kill may have cut the last line.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(entry).encode() + b"\n")
