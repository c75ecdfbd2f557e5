"""One call of evaluate.py: processes, folder, units of work, table and picture."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...checkpoint import RunLock
from ...cli.instantiate import instantiate
from ...distributed import on_rank_zero
from ...errors import UserError
from ...loggers import finish_wandb
from ...metrics.protocol import why_incomparable
from ...runtime.energy import EnergyMeter
from ...sinks.record import Record, Result
from ...sinks.table import common, sentence, table
from ..devices import launch
from ..report.task import report_afterwards
from . import pareto
from .compare.report import report_comparison
from .doctor.report import report_examination
from .environment import Environment, Work
from .jobs.scores import ScoresJob
from .plan import EvaluationPlan, agreed_evaluation

_log = logging.getLogger(__name__)

PICTURE = "pareto.png"


@dataclass(frozen=True)
class Evaluation:
    """A plan in progress. Every process makes the same calls.

    Attributes:
        plan: the units of work.
        environment: processes and folder, which is locked.
        record: the results in the folder.
        known: results that an earlier call has computed, by the position of their job.
    """

    plan: EvaluationPlan
    environment: Environment
    record: Record
    known: Mapping[int, Result]

    def prepare(self) -> dict[int, Work]:
        """Load data and references of all remaining units before any of them starts."""
        work = {i: job.prepare(self.environment) for i, job in enumerate(self.plan.jobs) if i not in self.known}
        if self.plan.request.cfg.mode in ("pareto", "compare"):
            self._check_comparable()
        return work

    def run(self, work: Mapping[int, Work]) -> list[Result]:
        """Run one unit after the other and write each result at once; return the results of all jobs, in order."""
        results = dict(self.known)
        for i, unit in work.items():
            meter = EnergyMeter()
            results[i] = unit.run()
            if energy := meter.stop():
                results[i].about["energy"] = dict(energy)
            on_rank_zero(partial(self._keep, unit, results[i]))
            if len(self.plan.jobs) > 1:
                _log.info("%s", sentence(results[i]))
        return [results[i] for i in range(len(self.plan.jobs))]

    def report(self, results: Sequence[Result]) -> None:
        """Print the table of all results, draw the picture, and send the results to the loggers."""
        cfg, shown, value = self.plan.request.cfg, list(results), None
        if cfg.mode == "compare":
            picture = report_comparison(self.record, self.plan.request.groups, cfg.draws, results, self._distance())
            on_rank_zero(lambda: self._log(results, picture))
            return
        if cfg.mode == "doctor":
            chart = report_examination(self.record, results[0], cfg.claimed)
            on_rank_zero(lambda: self._log(results, chart))
            return
        if cfg.mode == "pareto":
            shown += self._earlier()
        for task in dict.fromkeys(result.task for result in shown):
            lines = table([result for result in shown if result.task == task])
            _log.info("%s\n%s", task, "\n".join(lines))
        if cfg.mode == "pareto":
            value = self._distance()
            names = dict.fromkeys(name for result in shown for name in result.values)
            if value not in names:
                raise UserError(f"distance={value} is not among the scores: choose one of {', '.join(names)}")
            for line in pareto.best_lines(shown, value):
                _log.info("%s", line)
        on_rank_zero(lambda: self._publish(shown, value))

    def finish(self, results: Sequence[Result]) -> float | None:
        """Print where the results are; return the first value of the last one."""
        _log.info("results in %s", self.record.path)
        page = on_rank_zero(lambda: report_afterwards(self.environment.folder))
        if page is not None:
            _log.info("report in %s", page)
        finish_wandb()
        return next(iter(results[-1].values.values()), None)

    def _keep(self, unit: Work, result: Result) -> None:
        self.record.add(result)
        # Checked last: a full disk must not discard hours of work.
        unit.clean_up()

    def _check_comparable(self) -> None:
        """Raise UserError if scores of different protocols would be ranked together."""
        cfg, ranked = self.plan.request.cfg, list[tuple[str, Mapping[str, Any]]]()
        for job in self.plan.jobs:
            assert isinstance(job, ScoresJob)
            expected = job.setup.suite.conditions(self.environment.references(job.setup))
            expected |= {"quantization": job.stored_as.scored_as(cfg.quantize), "samples": cfg.num_samples}
            ranked.append((job.label, expected))
        earlier = self._earlier() if cfg.mode == "pareto" else []
        for result in [*self.known.values(), *earlier]:
            # The requested number of samples: some may have diverged.
            ranked.append((result.label, {**result.conditions, "samples": result.settings["num_samples"]}))
        (first, facts), *others = ranked
        for label, other in others:
            if (different := why_incomparable(facts, other)) is not None:
                raise UserError(
                    f"{first} and {label} do not compare ({different}): "
                    "give the same num_samples, quantize, metric and datamodule for all, or another output_dir"
                )

    def _earlier(self) -> list[Result]:
        """Results of other calls in the same folder: other checkpoints, samplers or step counts."""
        own = [job.subject for job in self.plan.jobs]
        return [r for r in self.record.results if r.task == ScoresJob.task and r.subject not in own]

    def _distance(self) -> str:
        if self.plan.request.cfg.distance is not None:
            return str(self.plan.request.cfg.distance)
        job = self.plan.jobs[0]
        assert isinstance(job, ScoresJob)
        return str(job.setup.suite.extractor.distance_name)

    def _publish(self, results: list[Result], value: str | None) -> None:
        picture = None
        if value is not None and any(result.values.get(value) is not None for result in results):
            from .results.picture import draw_scores

            picture = self.environment.folder / PICTURE
            draw_scores(picture, results, value, common(results))
        from .results.curve import draw_curve

        for name in dict.fromkeys(name for result in results for name in result.values):
            draw_curve(self.environment.folder / f"{name}_by_samples.png", results, name)
        self._log(results, picture)

    def _log(self, results: Sequence[Result], picture: Path | None) -> None:
        cfg = self.plan.request.cfg
        loggers = cfg.get("logger")
        if not loggers:
            return
        from .results.loggers import log

        cfg.paths.run_dir = str(self.environment.folder)
        # metrics.json holds nested values that do not fit into a csv.
        nodes = [node for name, node in loggers.items() if name != "csv" and node is not None]
        log([instantiate(node) for node in nodes], results, picture)


@contextmanager
def start_evaluation(plan: EvaluationPlan) -> Iterator[Evaluation]:
    """Start the processes, lock the output folder and read the results in it.

    Raises:
        UserError: the devices do not exist, or the folder is in use or holds results of other settings.
    """
    cfg = plan.request.cfg
    fabric = launch(cfg.accelerator, cfg.devices, cfg.precision, cfg.float32_matmul_precision)
    plan = agreed_evaluation(plan)
    environment = Environment(cfg, fabric, plan.request.folder)

    with ExitStack() as held:

        def claim() -> Record:
            held.enter_context(RunLock(environment.folder))
            return Record(environment.folder)

        record = on_rank_zero(claim)
        found = {i: record.find(job.task, job.subject, job.settings) for i, job in enumerate(plan.jobs)}
        known = {i: result for i, result in found.items() if result is not None}
        if known:
            _log.info("%d of %d results are in %s", len(known), len(plan.jobs), record.path)
        yield Evaluation(plan, environment, record, known)
