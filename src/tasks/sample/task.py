"""One sampling run, in the order in which things can go wrong: cheap checks first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from ...checkpoint import RunLock, checkpoint_hash, find_checkpoint, restore_model
from ...checkpoint.find import run_of
from ...cli.kinds import check_whole, listed
from ...data_range import check_quantize, to_bytes
from ...distributed import agreed, failing_together, on_rank_zero
from ...errors import UserError
from ...io.hashing import settings_hash
from ...metrics import Scores
from ...progress import Progress
from ...sampling.conditioning.labels import class_condition
from ...sampling.generation import GeneratedBatch, generate, shard
from .. import checkpoint_config, scoring
from ..checkpoint_file import check_weights, open_known
from ..devices import check_precision, launch
from . import constraint_report
from . import pictures as sample_pictures
from .constraints import constraint_of, needs_given
from .given import open_given
from .guidance import guide
from .starts import num_samples, start_of
from .store import ImageStore, check_format
from .tally import Tally

_log = logging.getLogger(__name__)

_LISTED = 8
_WIDEST = 16


class SamplingRun:
    """Samples of a checkpoint in a folder; a context manager that holds the folder.

    Every process goes through the same calls; each makes its share.

    Args:
        cfg: the composed configuration of ``conf/sample.yaml``.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._closing = ExitStack()
        self._scores: Scores | None = None
        self._tally = Tally()
        self._classifier: tuple[Path, str] | None = None
        self._start = time.monotonic()

    def __enter__(self) -> SamplingRun:
        return self

    def __exit__(self, *error: object) -> None:
        # The folder is free for others again.
        self._closing.close()

    def check(self) -> None:
        """What can be known without the weights."""
        cfg, self.count = self.cfg, num_samples(self.cfg)
        check_quantize(cfg.quantize)
        check_precision(cfg.precision, cfg.float32_matmul_precision)
        check_format(cfg.format)
        check_weights(str(cfg.weights))
        check_whole("num_samples", self.count, least=1)
        check_whole("batch_size", cfg.batch_size, least=1)
        if cfg.given_count is not None:
            check_whole("given_count", cfg.given_count, least=1)
        if cfg.ckpt_path is None:
            raise UserError("ckpt_path is missing: give a checkpoint, a run folder, `last`, `best`, or a step")
        self.path = find_checkpoint(cfg.ckpt_path, cfg.paths.log_dir, cfg.name)
        self.hash = checkpoint_hash(self.path)

    def restore(self) -> None:
        """The model, its sampler, what its samples start from and are held to, and the metrics if scores are wanted."""
        cfg, checkpoint = self.cfg, open_known(self.path, self.hash, self.cfg.trained_as)
        self.trained = dict(checkpoint["config"])
        self.foreign = "foreign" in checkpoint
        model = restore_model(checkpoint, str(cfg.weights))
        self.data_range = model.data_range
        self.guided = guide(model, self.trained, cfg, self._classifier)
        labels: Any = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
        self.classes = class_condition(labels, self.guided.classes, cfg.seed)
        self.labels = ("cycle" if labels is None else labels) if self.guided.classes else None
        self.sampler_node = self._node("sampler")
        self.sampler = checkpoint_config.build("sampler", self.sampler_node)
        self.sampler.check(model.sde)
        self.datamodule_node = self._node("datamodule")
        self.shape = checkpoint_config.sample_shape(self.datamodule_node)
        self.given = None
        if needs_given(cfg, self.guided):
            given = open_given(cfg.given, self.datamodule_node, self.shape, self.data_range)
            self.given = given.first(cfg.given_count)
        self.constraint = constraint_of(cfg, self.given, self.trained, self.guided)
        self.start, self.start_settings = start_of(cfg, self.sampler, self.given)
        if self.wants_scores:
            names = None if cfg.metrics is None else list(map(str, listed(cfg.metrics)))
            metric = self._node("metric", datamodule=self.datamodule_node)
            self.suite = checkpoint_config.build("metric", scoring.chosen_metrics(metric, names))
            self.datamodule = checkpoint_config.build("datamodule", self.datamodule_node)
            scoring.check_scoring(self.suite, self.datamodule, self.count)

    def launch(self) -> None:
        """The processes of the run, each with the model on its device."""
        self.fabric = launch(
            self.cfg.accelerator, self.cfg.devices, self.cfg.precision, self.cfg.float32_matmul_precision
        )
        # All processes take the files that the first one found, also while training goes on writing.
        chosen, same = agreed((self.path, self.hash, self.guided.classifier))
        if not same:
            self.path, self.hash, self._classifier = chosen
            with failing_together():
                self.restore()
        self.guided.to(self.fabric.device)

    def open_folder(self) -> None:
        """The output folder, claimed for this run; samples that are there already are not made again."""
        cfg = self.cfg
        settings = {
            "checkpoint": self.hash,
            "weights": cfg.weights,
            "sampler": self.sampler_node,
            "seed": cfg.seed,
            "labels": self.labels,
            "quantize": cfg.quantize,
            "precision": cfg.precision,
            "float32_matmul_precision": cfg.float32_matmul_precision,
            **self.guided.settings,
            **(self.constraint.settings if self.constraint else {}),
            **self.start_settings,
        }
        if self.foreign:
            # Such a file does not say of what model it is.
            settings["model"] = self.trained["model"]
        about = {"ckpt_path": str(self.path), "sample": OmegaConf.to_container(cfg), "trained_with": self.trained}
        self.store = ImageStore(self._folder(settings), settings, self.count, self.shape, cfg.format, cfg.raw, about)
        self.missing = on_rank_zero(self._claim)
        if not self.missing:
            _log.info("nothing to make: %s holds all %s samples", self.store.folder, f"{self.count:,}")
        elif len(self.missing) < self.count:
            _log.info("%s samples are there, %s are missing", self.count - len(self.missing), len(self.missing))

    def generate(self) -> None:
        """This process' share of what is missing."""
        mine = self._share(self.missing)
        with failing_together(), Progress("sampling", len(mine), enabled=self.fabric.is_global_zero) as progress:
            for batch in self._batches(mine, progress=progress):
                self._keep(batch)
                progress.add(len(batch.index))

    def finish_folder(self) -> None:
        """Files are joined where they are to be, and the manifest is closed."""
        tally = self._tally
        tally.gather()
        if tally.far:
            _log.warning(
                "%d samples lie far outside the data, up to %.2g: the net knows too little, or the sampler diverges",
                tally.far,
                tally.farthest,
            )
        seconds = time.monotonic() - self._start
        # Every process needs to know what is in the folder, one writes it.
        on_rank_zero(lambda: self.store.complete(tally.invalid, tally.nfe, seconds))
        self.store.manifest.invalid = on_rank_zero(lambda: self.store.manifest.invalid)

    def draw(self) -> None:
        """The grid, what was given beside what came out, and the film of trajectories if it is asked for."""
        on_rank_zero(self._draw_pictures)
        film = self.store.folder / "trajectory.gif"
        if self.cfg.trajectory and on_rank_zero(lambda: bool(self.missing) or not film.exists()):
            mine = self._share(range(sample_pictures.film_count(self.store)))
            batches = self._batches(mine, frames=sample_pictures.FILM_FRAMES)
            sample_pictures.draw_film(film, self.store, self.shape, batches, self.data_range, self.cfg.quantize)

    def score(self) -> None:
        """``metrics.json``: scores if they are wanted, and how well what was given is met."""
        values: dict[str, Any] = {}
        if self.wants_scores:
            self._scores = scoring.score(
                self.store,
                self.suite,
                self.datamodule,
                batch_size=self.cfg.batch_size,
                device=self.fabric.device,
                quantize=self.cfg.quantize,
            )
            values |= self._scores.as_dict()
            _log.info("%s", self._scores)
        if self._is_compared:
            agreement = on_rank_zero(self._agreement)
            values |= agreement
            _log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in agreement.items()))
        if values:
            manifest = self.store.manifest
            sampling = {**manifest.settings, "nfe": manifest.nfe, "invalid_samples": len(manifest.invalid)}
            on_rank_zero(lambda: scoring.write_scores(self.store.folder, values, sampling))

    def finish(self) -> float | None:
        """Say what there is now; the first score, if there is one.

        Raises:
            UserError: some samples diverged or are not finite.
        """
        invalid = self.store.manifest.invalid
        if invalid:
            named = ", ".join(map(str, invalid[:_LISTED])) + (", ..." if len(invalid) > _LISTED else "")
            raise UserError(
                f"{len(invalid)} of {self.count} samples diverged or are not finite and were left out "
                f"({named}): take more steps or another sampler"
            )
        grid = self.store.folder / "grid.png"
        picture = f", the first of them in {grid}" if grid.exists() else ""
        _log.info("%s samples in %s%s", f"{self.count:,}", self.store.folder, picture)
        return None if self._scores is None else next(iter(self._scores.values.values()), None)

    @property
    def wants_scores(self) -> bool:
        """Naming metrics asks for them."""
        return bool(self.cfg.score or self.cfg.metrics is not None)

    @property
    def _is_compared(self) -> bool:
        """Along an interpolation there is nothing to compare with."""
        return self.given is not None and self.cfg.interpolate is None

    def _folder(self, settings: dict[str, Any]) -> Path:
        """The folder asked for, or one of the run and of these settings alone, so that a second call goes on."""
        if self.cfg.output_dir is not None:
            return Path(str(self.cfg.output_dir))
        home = run_of(self.path) or Path(self.cfg.paths.log_dir)
        digest = settings_hash([settings, self.cfg.format, self.cfg.raw])
        return home / "samples" / f"{self.path.stem}-seed{self.cfg.seed}-{digest}"

    def _node(self, name: str, **beside: Any) -> dict[str, Any]:
        return checkpoint_config.node(self.trained, name, self.cfg.get(name), **beside)

    def _claim(self) -> list[int]:
        self._closing.enter_context(RunLock(self.store.folder))
        return self.store.prepare()

    def _share(self, indices: Sequence[int]) -> Sequence[int]:
        return shard(indices, self.fabric.global_rank, self.fabric.world_size)

    def _batches(
        self, indices: Sequence[int], frames: int = 0, progress: Progress | None = None
    ) -> Iterator[GeneratedBatch]:
        return generate(
            self.guided.model,
            self.sampler,
            self.shape,
            indices,
            seed=self.cfg.seed,
            batch_size=self.cfg.batch_size,
            condition=self._condition,
            constraint=None if self.constraint is None else self.constraint.control,
            start=self.start,
            device=self.fabric.device,
            autocast=self.fabric.autocast,
            frames=frames,
            on_step=None if progress is None else lambda step: progress.begun(len(step.x) * step.index / step.total),
        )

    def _condition(self, index: torch.Tensor) -> dict[str, torch.Tensor] | None:
        """What the model is told about samples: their classes, what was measured on them."""
        classes = None if self.classes is None else self.classes(index)
        measured = None if self.constraint is None else self.constraint.condition(index)
        return {**(classes or {}), **(measured or {})} or None

    def _keep(self, batch: GeneratedBatch) -> None:
        samples = batch.samples[batch.valid].cpu()
        shown = to_bytes(samples, self.data_range, self.cfg.quantize) if self.store.is_image else samples
        self.store.add(batch.index[batch.valid], shown, samples if self.cfg.raw else None)
        self._tally.add(batch)

    def _draw_pictures(self) -> None:
        folder, made = self.store.folder, bool(self.missing)
        if made or not (folder / "grid.png").exists():
            sample_pictures.draw_grid(folder / "grid.png", self.store, self._columns)
        if self._is_compared and self.store.is_image and (made or not (folder / constraint_report.PICTURE).exists()):
            assert self.given is not None
            constraint_report.draw(self.store, self.given, self.constraint)

    @property
    def _columns(self) -> int | None:
        """Images in a row of the grid: the whole of an interpolation, or each class in a column of its own."""
        if self.cfg.interpolate is not None:
            return self.count
        period = None if self.classes is None else self.classes.period
        return period if period is not None and 1 < period <= _WIDEST else None

    def _agreement(self) -> dict[str, Any]:
        assert self.given is not None
        return constraint_report.agreement(self.store, self.given, self.constraint, self.cfg.batch_size)
