"""An evaluation, in the order in which things can go wrong: cheap checks first."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ...checkpoint import RunLock, checkpoint_hash
from ...checkpoint.find import run_of
from ...cli.instantiate import instantiate
from ...cli.kinds import check_whole, listed
from ...data_range import check_quantize
from ...distributed import agreed, failing_together, on_rank_zero
from ...errors import UserError
from ...io.hashing import settings_hash
from ...loggers import finish_wandb
from ...sinks.record import Record, Result
from ..checkpoint_file import check_weights
from ..devices import check_precision, launch
from ..image_source import open_images
from . import pareto as pareto
from .context import Context, Job
from .images import ImagesJob
from .scores import ScoresJob
from .splits import BitsPerDimJob, LossJob
from .subjects import Subject, find_checkpoints, subjects
from .table import common, sentence, table

_log = logging.getLogger(__name__)

MODES = ("evaluate", "pareto")
PICTURE = "pareto.png"
_IN_THE_NAME = (
    *(
        "mode",
        "num_samples",
        "seed",
        "labels",
        "quantize",
        "precision",
        "float32_matmul_precision",
        "metrics",
        "split",
        "limit",
    ),
    *("sampler", "datamodule", "metric", "likelihood"),
)


class Evaluation:
    """Jobs of a configuration, those that are done already left out; a context manager that holds the folder.

    Every process goes through the same calls.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
    """

    context: Context
    jobs: list[Job]

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._closing = ExitStack()
        self._paths: list[Path] = []
        self._digests: list[str] = []
        self._entries: dict[int, Result] = {}

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def check(self) -> None:
        """What can be known without devices."""
        cfg = self.cfg
        if cfg.mode not in MODES:
            raise UserError(f"mode={cfg.mode}: choose one of {', '.join(MODES)}")
        if (cfg.ckpt_path is None) == (cfg.images is None):
            raise UserError("give either ckpt_path=<a checkpoint, a run folder, last, ...> or images=<files>")
        check_quantize(cfg.quantize)
        check_precision(cfg.precision, cfg.float32_matmul_precision)
        for name in ("num_samples", "batch_size", "limit", "every"):
            if cfg[name] is not None:
                check_whole(name, cfg[name], least=1)
        if cfg.images is not None:
            if cfg.mode == "pareto" or cfg.bits_per_dim or cfg.loss:
                raise UserError(
                    "images have no sampler, loss or likelihood: give ckpt_path instead, or only score them"
                )
            open_images(str(cfg.images))
            return
        if not (cfg.score or cfg.bits_per_dim or cfg.loss):
            raise UserError("nothing to do: set score=true, bits_per_dim=true or loss=true")
        if cfg.ema_length is None:
            for choice in listed(cfg.weights):
                check_weights(str(choice))
        self._paths = find_checkpoints(cfg)
        self._digests = list(map(checkpoint_hash, self._paths))

    def plan(self) -> None:
        """All jobs: configurations are read and objects built, but no weights, no data and no devices."""
        self.context = Context(self.cfg)
        if self.cfg.images is not None:
            self.jobs = [ImagesJob(self.context)]
            return
        chosen = subjects(self._paths, self._digests, self.cfg.weights, self.cfg.ema_length, self.cfg.trained_as)
        self.jobs = [job for subject in chosen for job in self._jobs(subject)]

    def launch(self) -> None:
        """The processes."""
        fabric = launch(self.cfg.accelerator, self.cfg.devices, self.cfg.precision, self.cfg.float32_matmul_precision)
        # All processes take the files that the first one found, also while training goes on writing.
        found, same = agreed((self._paths, self._digests))
        if not same:
            self._paths, self._digests = found
            with failing_together():
                self.plan()
        self.context.fabric = fabric

    def open_record(self) -> None:
        """The output folder, claimed; results that are there are not computed again."""
        self.context.folder = self._folder()
        self.record = on_rank_zero(self._claim)
        for i, job in enumerate(self.jobs):
            found = self.record.find(job.task, job.subject, job.settings)
            if found is not None:
                self._entries[i] = found
        if self._entries:
            _log.info("%d of %d results are in %s", len(self._entries), len(self.jobs), self.record.path)

    def prepare(self) -> None:
        """Data and references of the jobs still to be done, before any of them starts."""
        for i, job in enumerate(self.jobs):
            if i not in self._entries:
                job.prepare(self.context)
        if self.cfg.mode == "pareto":
            self._check_comparable()

    def run(self) -> None:
        """The jobs, one after the other; each result is written at once."""
        for i, job in enumerate(self.jobs):
            if i in self._entries:
                continue
            self._entries[i] = entry = job.run(self.context)
            on_rank_zero(partial(self._keep, job, entry))
            if len(self.jobs) > 1:
                _log.info("%s", sentence(entry))

    def report(self) -> None:
        """The table of all results, the picture, and what loggers are told."""
        entries = [self._entries[i] for i in range(len(self.jobs))]
        if self.cfg.mode == "pareto":
            entries += self._earlier()
        for task in dict.fromkeys(entry.task for entry in entries):
            lines = table([entry for entry in entries if entry.task == task])
            _log.info("%s\n%s", task, "\n".join(lines))
        value = None
        if self.cfg.mode == "pareto":
            value = self._distance()
            there = dict.fromkeys(name for entry in entries for name in entry.values)
            if value not in there:
                raise UserError(f"distance={value} is none of these scores: choose one of {', '.join(there)}")
            for line in pareto.best_lines(entries, value):
                _log.info("%s", line)
        on_rank_zero(lambda: self._publish(entries, value))

    def finish(self) -> float | None:
        """Where it all is; the first value of the last entry."""
        _log.info("results in %s", self.record.path)
        finish_wandb()
        last = self._entries[len(self.jobs) - 1]
        return next(iter(last.values.values()), None)

    def _jobs(self, subject: Subject) -> list[Job]:
        cfg, jobs = self.cfg, list[Job]()
        if cfg.mode == "pareto":
            for choice in pareto.choices(cfg.samplers, cfg.steps, subject.config):
                jobs.append(ScoresJob(self.context, subject, choice.node, choice.point))
            return jobs
        if cfg.score:
            jobs.append(ScoresJob(self.context, subject))
        if cfg.loss:
            jobs.append(LossJob(self.context, subject))
        if cfg.bits_per_dim:
            jobs.append(BitsPerDimJob(self.context, subject))
        return jobs

    def _folder(self) -> Path:
        """The folder asked for, or one of these settings alone, in the run if all checkpoints are of one."""
        cfg = self.cfg
        if cfg.output_dir is not None:
            return Path(str(cfg.output_dir))
        runs = {run_of(path) for path in self._paths}
        run = next(iter(runs)) if len(runs) == 1 else None
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        settings = {name: raw.get(name) for name in _IN_THE_NAME}
        if cfg.mode == "pareto":
            settings["batch_size"] = cfg.batch_size
        return (run or Path(cfg.paths.log_dir)) / "evaluation" / f"{cfg.mode}-{settings_hash(settings)}"

    def _claim(self) -> Record:
        self._closing.enter_context(RunLock(self.context.folder))
        return Record(self.context.folder)

    def _keep(self, job: Job, entry: Result) -> None:
        self.record.add(entry)
        # Not before: what took hours must not be lost to a full disk.
        job.clean_up()

    def _check_comparable(self) -> None:
        """One picture needs one yardstick."""
        kinds = {}
        for i, job in enumerate(self.jobs):
            assert isinstance(job, ScoresJob)
            if i in self._entries:
                conditions = self._entries[i].conditions
            else:
                conditions = job.yardstick.suite.conditions(job.yardstick.reference)
            kind = tuple(conditions.get(name) for name in ("extractor", "reference", "reference_samples"))
            kinds[kind] = job.of.label
        for entry in self._earlier():
            conditions = entry.conditions
            kind = tuple(conditions.get(name) for name in ("extractor", "reference", "reference_samples"))
            kinds[kind] = entry.label
            if entry.settings["num_samples"] != self.cfg.num_samples:
                raise UserError(
                    f"{self.record.path} holds {entry.label} with {entry.settings['num_samples']} samples, on which "
                    "distances depend: give the same num_samples or another output_dir"
                )
        if len(kinds) > 1:
            (first, a), (second, b), *_ = kinds.items()
            raise UserError(
                f"{a} and {b} do not compare: {_words(first)} and {_words(second)}; set metric and datamodule for both"
            )

    def _earlier(self) -> list[Result]:
        """Points of other calls into the same folder: other checkpoints, samplers or numbers of steps."""
        own = [job.subject for job in self.jobs]
        return [e for e in self.record.results if e.task == ScoresJob.task and e.subject not in own]

    def _distance(self) -> str:
        if self.cfg.distance is not None:
            return str(self.cfg.distance)
        job = self.jobs[0]
        assert isinstance(job, ScoresJob)
        return str(job.yardstick.suite.extractor.distance_name)

    def _publish(self, entries: list[Result], value: str | None) -> None:
        picture = None
        if value is not None and any(entry.values.get(value) is not None for entry in entries):
            from .picture import draw

            picture = self.context.folder / PICTURE
            draw(picture, entries, value, common(entries))
        loggers = self.cfg.get("logger")
        if not loggers:
            return
        from .loggers import log

        self.cfg.paths.run_dir = str(self.context.folder)
        # metrics.json holds more than the rows of a csv could.
        nodes = [node for name, node in loggers.items() if name != "csv" and node is not None]
        log([instantiate(node) for node in nodes], entries, picture)


def _words(kind: tuple[Any, ...]) -> str:
    return f"{kind[0]} against {kind[1]} ({kind[2]} images)"
