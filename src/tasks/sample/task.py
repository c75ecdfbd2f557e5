"""One call of sample.py: processes, folder, samples, pictures, scores."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...checkpoint import RunLock
from ...distributed import on_rank_zero
from ...errors import UserError
from ...metrics import Scores
from ...sampling.generation import Generation
from ...sinks.record import Record, Result, write_results
from ...sinks.store import SampleStore
from ...sinks.table import table
from .. import scoring
from ..devices import launch
from ..report.task import report_afterwards
from . import constraint_report, pictures
from .plan import SamplingPlan, agreed_sampling

_log = logging.getLogger(__name__)

_LISTED = 8
_WIDEST = 16


@dataclass(frozen=True)
class SamplingRun:
    """A plan in progress. Every process makes the same calls; each generates its share of the samples.

    Attributes:
        plan: what to generate.
        generation: the pipeline, with the model on this process' device.
        store: the locked folder.
        missing: indices of the samples still to be generated.
    """

    plan: SamplingPlan
    generation: Generation
    store: SampleStore
    missing: Sequence[int]

    def generate(self) -> None:
        """Generate the missing samples, store them and close the manifest."""
        statistics = self.generation.run(self.missing, [self.store])
        if statistics.far:
            _log.warning(
                "%d samples lie far outside the data, up to %.2g: the net is undertrained, or the sampler diverges",
                statistics.far,
                statistics.farthest,
            )

    def draw(self) -> None:
        """Draw the grid, given data next to results, and the animation if it is asked for."""
        on_rank_zero(self._draw_pictures)
        film = self.store.folder / "trajectory.gif"
        if self.plan.cfg.trajectory and on_rank_zero(lambda: bool(self.missing) or not film.exists()):
            pictures.draw_film(film, self.store, self.generation)

    def score(self) -> Scores | None:
        """Write ``metrics.json``: scores if they are wanted, and how well samples match given data."""
        plan, scores = self.plan, None
        subject: dict[str, Any] = {"checkpoint": plan.request.digest}
        if self.store.is_part:
            subject["num_samples"] = self.store.count
        result = Result("scores", str(self.store.folder), subject, dict(plan.settings))
        if plan.suite is not None:
            scores = scoring.score(
                self.store,
                plan.suite,
                plan.datamodule,
                batch_size=plan.cfg.batch_size,
                device=self.generation.device,
                quantize=plan.cfg.quantize,
            )
        if scores is not None:
            conditions = {"sampler": plan.sampler.described, **scoring.generation_facts(plan.settings)}
            result = replace(result, conditions=conditions).of_scores(scores)
            _log.info("scores\n%s", "\n".join(table([replace(result, label=f"{plan.request.count:,} samples")])))
        if plan.compares:
            measure_agreement = on_rank_zero(self._measure_agreement)
            _log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in measure_agreement.items()))
            result.values.update(measure_agreement)
        if result.values:
            manifest = self.store.manifest
            result.conditions.update(nfe=manifest.nfe.get("mean"), invalid_samples=len(self.store.invalid))
            on_rank_zero(lambda: self._write(result))
        return scores

    def finish(self, scores: Scores | None) -> float | None:
        """Print where the samples are, and write the report if they were scored.

        Returns:
            The first score, None without scores.

        Raises:
            UserError: some samples diverged or are not finite.
        """
        invalid, count = self.store.invalid, self.plan.request.count
        page = None if scores is None else on_rank_zero(lambda: report_afterwards(self.store.folder))
        if invalid:
            named = ", ".join(map(str, invalid[:_LISTED])) + (", ..." if len(invalid) > _LISTED else "")
            raise UserError(
                f"{len(invalid)} of {count} samples diverged or are not finite and were left out "
                f"({named}): take more steps or another sampler"
            )
        grid = self.store.folder / "grid.png"
        picture = f", the first of them in {grid}" if grid.exists() else ""
        number = f"{count:,} samples"
        if self.store.is_part:
            number = f"the first {count:,} of {self.store.manifest.num_samples:,} samples"
        _log.info("%s in %s%s", number, self.store.folder, picture)
        if page is not None:
            _log.info("report in %s", page)
        return None if scores is None else next(iter(scores.values.values()), None)

    def _write(self, result: Result) -> None:
        """Write a result; the result of a part of the samples is stored next to the folder's others."""
        others = Record(self.store.folder).results if self.store.is_part else []
        write_results(self.store.folder, [*(other for other in others if other.subject != result.subject), result])

    def _draw_pictures(self) -> None:
        folder, made = self.store.folder, bool(self.missing)
        if made or not (folder / "grid.png").exists():
            pictures.draw_grid(folder / "grid.png", self.store, self._columns)
        drawn = (folder / constraint_report.PICTURE).exists() and not made
        if self.plan.compares and self.plan.given is not None and self.store.is_image and not drawn:
            constraint_report.draw_constraint(self.store, self.plan.given, self.plan.constraint)

    @property
    def _columns(self) -> int | None:
        """Images per row of the grid: a whole interpolation, or one column per class."""
        if self.plan.cfg.interpolate is not None:
            return self.plan.request.count
        period = None if self.plan.classes is None else self.plan.classes.period
        return period if period is not None and 1 < period <= _WIDEST else None

    def _measure_agreement(self) -> dict[str, float]:
        given = self.plan.given
        assert given is not None
        return constraint_report.measure_agreement(self.store, given, self.plan.constraint, self.plan.cfg.batch_size)


@contextmanager
def start_sampling(plan: SamplingPlan) -> Iterator[SamplingRun]:
    """Start the processes, lock the output folder and find which samples are missing.

    Raises:
        UserError: the devices do not exist, or the folder is in use or holds something else.
    """
    cfg = plan.cfg
    fabric = launch(cfg.accelerator, cfg.devices, cfg.precision, cfg.float32_matmul_precision)
    plan = agreed_sampling(plan)
    generation, store = plan.generation(fabric.device, fabric.autocast), plan.store()

    store.check_room_for_new()
    with ExitStack() as held:

        def claim() -> list[int]:
            held.enter_context(RunLock(store.folder))
            return store.prepare()

        missing = on_rank_zero(claim)
        if not missing:
            _log.info("nothing to do: %s has %s samples", store.folder, f"{store.manifest.num_samples:,}")
        elif len(missing) < plan.request.count:
            _log.info("%s samples exist, %s are missing", plan.request.count - len(missing), len(missing))
        yield SamplingRun(plan, generation, store, missing)
